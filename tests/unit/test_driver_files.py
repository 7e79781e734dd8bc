"""The files of the role nvidia_driver: the pin as the real apt reads it, and the drop-in of the persistence daemon."""

import shutil
import subprocess

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from role_vars import platforms
from role_vars import template as variable

from roundhouse.host import systemctl
from roundhouse.paths import CHECKOUT

ROLE = CHECKOUT / "roles/nvidia_driver"
# Packages of NVIDIA's driver whose names do not begin with nvidia or libnvidia, and others.
DRIVER = ("libcuda1", "libcudadebugger1", "libnvcuvid1", "libnvoptix1", "libxnvctrl0", "nvidia-driver-cuda")
OTHERS = ("cuda-toolkit-13-0", "libnvjpeg-13-0")


def rendered(name, **variables):
    text = (ROLE / "templates" / name).read_text()
    given = {"ansible_managed": "Written by Ansible", **variables}
    return Templar(DataLoader(), variables=given).template(trust_as_template(text))


@pytest.fixture
def policy(tmp_path):
    """Return a function that returns apt's candidates, with a repository of two branches and a pin of the role."""
    if not all(map(shutil.which, ("apt-get", "apt-cache"))):
        pytest.skip("apt not found; run this test on Debian or Ubuntu")
    repository = tmp_path / "repository"
    repository.mkdir()
    rows = []
    for name in (*DRIVER, *OTHERS):
        source = "nvidia-graphics-drivers" if name in DRIVER else name
        rows += [
            f"Package: {name}\nSource: {source}\nVersion: {version}-1\nArchitecture: all\nFilename: ./{name}.deb\n"
            f"Size: 1\nSHA256: {'0' * 64}\n"
            for version in ("580.126.09", "580.173.02", "595.71.05")
        ]
    (repository / "Packages").write_text("\n".join(rows))
    for folder in ("etc/preferences.d", "etc/apt.conf.d", "state/lists/partial", "cache/archives/partial"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/sources.list").write_text(f"deb [trusted=yes] file:{repository} ./\n")
    (tmp_path / "state/status").write_text("")
    places = {"Etc": "etc", "State": "state", "Cache": "cache", "State::status": "state/status"}
    options = [word for name, path in places.items() for word in ("-o", f"Dir::{name}={tmp_path / path}")]
    options += ["-o", "APT::Sandbox::User=root", "-o", "Dir::Etc::main=-"]

    def ask(**settings):
        pin = rendered(
            "preferences.j2",
            __nvidia_driver_names=variable("nvidia_driver", "__nvidia_driver_names"),
            nvidia_driver_repository="file:/repository",  # apt's origin of a file is empty, as is its host name
            **{"nvidia_driver_version": "", "nvidia_driver_branch": 580, **settings},
        )
        (tmp_path / "etc/preferences.d/roundhouse-nvidia").write_text(pin.replace('"None"', '""'))
        subprocess.run(["apt-get", "update", "-q", *options], check=True, capture_output=True)
        command = ["apt-cache", "policy", *options, *DRIVER, *OTHERS]
        out = subprocess.run(command, check=True, capture_output=True, text=True, env={"LC_ALL": "C"}).stdout
        lines = out.splitlines()
        found = [line.removesuffix(":") for line in lines if not line.startswith(" ")]
        return dict(zip(found, [line.split()[1] for line in lines if line.startswith("  Candidate")], strict=True))

    return ask


@pytest.mark.parametrize(
    ("settings", "version"),
    [
        ({}, "580.173.02-1"),
        ({"nvidia_driver_version": "580.126.09"}, "580.126.09-1"),
        ({"nvidia_driver_branch": 595}, "595.71.05-1"),
    ],
)
def test_apt_takes_every_package_of_the_driver_from_the_pinned_branch(policy, settings, version):
    found = policy(**settings)
    assert {name: found[name] for name in DRIVER} == dict.fromkeys(DRIVER, version)
    assert {name: found[name] for name in OTHERS} == dict.fromkeys(OTHERS, "595.71.05-1")


def test_ubuntus_persistence_daemon_gets_persistence_mode():
    for name, platform in platforms("nvidia_driver", "Ubuntu").items():
        text = rendered("persistenced.conf.j2", __nvidia_driver_platform=platform)
        lines = text.splitlines()
        start = lines.index("ExecStart=")
        assert "--persistence-mode" in lines[start + 1].split(), name
        assert "StopWhenUnneeded=false" in lines
        assert lines.index("StopWhenUnneeded=false") < lines.index("[Service]")


def test_debians_persistence_daemon_keeps_its_command():
    for platform in platforms("nvidia_driver", "Debian").values():
        text = rendered("persistenced.conf.j2", __nvidia_driver_platform=platform)
        assert "ExecStart" not in text
        assert "ConditionPathExists=/proc/driver/nvidia/version" in text


@pytest.mark.parametrize(
    ("state", "file_state", "on"),
    [
        ("active", "static", True),
        ("active", "enabled", True),
        ("inactive", "static", False),
        ("active", "disabled", False),
    ],
)
def test_a_static_unit_counts_as_started_at_boot(tmp_path, monkeypatch, state, file_state, on):
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\nprintf 'Id=x.service\\nActiveState={state}\\nUnitFileState={file_state}\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert systemctl.is_on("x.service") is on
