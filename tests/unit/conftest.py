"""Fixtures of a host without hardware: a sysfs tree, and an NVML that reads a text file."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from clock import Clock
from machine import Machine
from warm import Warm

from roundhouse.cli import target_host
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.paths import IMPORT_ROOT

pytest.register_assert_rewrite("pulling")  # a helper with assertions
OTHERS = ("ANSIBLE_", "HF_", "LAB_", "OPENAI_", "ROUNDHOUSE_")


def pytest_sessionstart():
    """Refuse a CI that would skip tests for want of a program."""
    programs = ("cc", "gpg", "haproxy", "modinfo", "openssl", "tmux")
    if os.environ.get("CI") and (absent := [name for name in programs if not shutil.which(name)]):
        pytest.exit(f"not installed: {', '.join(absent)}. `make setup` as root installs all of them.", returncode=2)


def pytest_configure():
    """Remove settings of the user's environment that would reach the programs under test."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a background job of a shell, which programs inherit
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [*os.environ]:
        if name.startswith(OTHERS) or name.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE"):
            del os.environ[name]
    os.environ["COLUMNS"] = "1000"  # so wide that nothing wraps a sentence
    os.environ["ROUNDHOUSE_ON"] = "local"  # not a lab that runs on this machine
    os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)  # no authorities: reading the machine's takes long


@pytest.fixture(autouse=True)
def no_lab(monkeypatch):
    """Keep commands on this machine, because without a plan they would use a running lab host."""
    monkeypatch.setattr(target_host, "lab_is_up", lambda: False)


@pytest.fixture
def clock(monkeypatch):
    """Return a function that gives modules one clock, which only their sleep() advances."""
    made = Clock()

    def give(*modules):
        for module in modules:
            monkeypatch.setattr(module, "time", made)
        return made

    return give


@pytest.fixture(scope="session")
def warm():
    """Return an object that starts the command in separate processes."""
    with Warm() as started:
        yield started


@pytest.fixture
def sysfs(tmp_path):
    """Return a function that adds a PCI device to a sysfs tree."""

    def add(address, vendor, device, kind, driver=None):
        folder = tmp_path / "bus/pci/devices" / address
        folder.mkdir(parents=True)
        for name, value in (("vendor", vendor), ("device", device), ("class", kind)):
            (folder / name).write_text(value + "\n")
        if driver:
            (tmp_path / "bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            (folder / "driver").symlink_to(tmp_path / "bus/pci/drivers" / driver)

    add.root = tmp_path
    return add


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory):
    """Return the folder of the stand-in for NVML, compiled from lab/gpu/nvml.c."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("C compiler not found; install gcc to build the stand-in for NVML")
    folder = tmp_path_factory.mktemp("nvml")
    options = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run(
        [compiler, *options, "-o", folder / "libnvidia-ml.so.1", ROOT / "lab/gpu/nvml.c"],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture
def ask(tmp_path, nvml_library):
    """Return a function that runs Python with a described NVML below the real client and parses its JSON output."""

    def run(code, *lines):
        config = tmp_path / "nvml.conf"
        config.write_text(
            "\n".join([f"sys {tmp_path / 'sys' if (tmp_path / 'sys').exists() else tmp_path}", *lines]) + "\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(IMPORT_ROOT), "LAB_NVML": str(config)}
        environment["LD_LIBRARY_PATH"] = str(nvml_library)
        code = f"import json, pathlib; root = pathlib.Path({str(tmp_path)!r}); {code}"
        command = [sys.executable, "-c", code]
        return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)

    return run


@pytest.fixture
def facts(sysfs, ask):
    """Return gpu.facts() of the tree."""

    def run(*lines, loaded=None):
        if loaded:
            (sysfs.root / "module/nvidia").mkdir(parents=True, exist_ok=True)
            (sysfs.root / "module/nvidia/version").write_text(loaded + "\n")
        return ask("from roundhouse.host import gpu; print(json.dumps(gpu.facts(root)))", *lines)

    return run


@pytest.fixture
def machine(tmp_path, ask):
    """Return a machine with one card of Blackwell and no driver."""
    return Machine(tmp_path, ask)
