"""The control service's unit grants what a switch and a recovery do."""

import os
import shutil
import subprocess
import sys

import jinja2
import pytest
from clock import until

from roundhouse.gateway import config
from roundhouse.host import systemd
from roundhouse.paths import CHECKOUT, IMPORT_ROOT
from roundhouse.plan import deployed, plan_sets
from roundhouse.state import serving

TEMPLATE = CHECKOUT / "roles/gateway/templates/roundhouse-control.service.j2"
LISTEN = (
    "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); s.accept()"
)


def settings(accelerator):
    """Return the values of each setting of the unit."""
    text = jinja2.Template(TEMPLATE.read_text()).render(gateway_plan={"accelerator": accelerator}, ansible_managed="")
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).extend(value.split())
    return found


def test_a_recovery_may_write_the_plan_the_units_and_the_state():
    writable = settings("cpu")["ReadWritePaths"]
    for path in (deployed.PATH, config.FOLDER, plan_sets.FOLDER, systemd.FOLDER, serving.FOLDER):
        assert any(str(path).startswith(place) for place in writable), path


def test_the_driver_has_made_its_devices_before_the_service_starts():
    with_driver, without = settings("cuda"), settings("cpu")
    assert "roundhouse-devices.service" in with_driver["After"]
    assert "roundhouse-devices.service" in with_driver["Wants"]
    assert "roundhouse-devices.service" not in without["After"]
    assert "roundhouse.service" in without["After"]


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root drops capabilities with setpriv"
)
def test_the_service_names_the_process_of_another_user_that_holds_a_port():
    kept = [f"+{name.removeprefix('CAP_').lower()}" for name in settings("cpu")["CapabilityBoundingSet"]]
    with subprocess.Popen(
        ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", LISTEN], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            port = holder.stdout.readline().strip()
            code = f"from roundhouse.agents import ports; print(ports.holder({port}).pid)"
            found = subprocess.run(
                ["setpriv", f"--bounding-set=-all,{','.join(kept)}", sys.executable, "-c", code],
                env={"PYTHONPATH": str(IMPORT_ROOT)},
                capture_output=True,
                text=True,
                check=True,
            )
            assert found.stdout.strip() == str(holder.pid)
        finally:
            holder.kill()
    until(lambda: holder.poll() is not None)
