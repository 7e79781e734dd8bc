"""A boot where the toolkit ran before the driver leaves no agent without its CDI specification."""

import os
import re
import shutil
import subprocess

import jinja2
import pytest

from roundhouse.paths import CHECKOUT as ROOT


def unit(runtime):
    text = (ROOT / "roles/agents/templates/devices.service.j2").read_text()
    return jinja2.Template(text).render(agents_plan={"runtime": runtime, "accelerator": "cuda"}, ansible_managed="x")


@pytest.mark.parametrize(
    ("files", "refreshed"),
    [
        ({}, True),
        ({"run/cdi/nvidia.yaml": "kind: nvidia.com/gpu\n"}, False),
        ({"etc/cdi/own.json": '{"kind": "nvidia.com/gpu"}'}, False),
        ({"run/cdi/other.yaml": "kind: vendor.com/nic\n"}, True),
    ],
)
def test_the_unit_before_an_agent_refreshes_a_missing_specification(tmp_path, files, refreshed):
    """Run the unit's command on folders of the test; systemctl records its arguments (molecule runs the real one)."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (command,) = re.findall(r"^ExecStart=-/bin/sh -c '(.*)'$", unit("compose"), re.MULTILINE)
    # systemd passes $$ on as $.
    command = (
        command.replace("$$", "$").replace("/run/cdi", f"{tmp_path}/run/cdi").replace("/etc/cdi", f"{tmp_path}/etc/cdi")
    )
    program = tmp_path / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    program.chmod(0o755)
    subprocess.run(["sh", "-c", command], env={"PATH": f"{program.parent}:{os.environ['PATH']}"}, check=True)
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else "") == (
        "restart nvidia-cdi-refresh.service\n" if refreshed else ""
    )


def test_processes_need_no_specification():
    assert "cdi" not in unit("native").lower()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze not found; it parses units")
def test_systemd_accepts_the_unit(tmp_path):
    path = tmp_path / "roundhouse-devices.service"
    path.write_text(unit("compose"))
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert "roundhouse-devices.service" not in done.stderr, done.stderr


def test_no_device_node_is_a_condition_of_the_refresh():
    text = (ROOT / "roles/nvidia_container_toolkit/templates/refresh.conf.j2").read_text()
    assert not re.search(r"^(Condition|Assert)", text, re.MULTILINE)
