"""Fixtures of the main scenario: those of molecule/hosts.py, and engines with faults on request."""

from collections.abc import Callable, Iterator

import pytest
from testinfra.host import Host

pytest_plugins = ("hosts",)

FIRST = "/opt/lab-engine"


@pytest.fixture
def fault(host: Host) -> Iterator[Callable[[str, str], None]]:
    """Return a function that gives an agent's next engine a fault (options of lab/fake/vllm), for one test."""
    yield lambda agent, options: host.check_output("echo %s > /etc/lab-engine/%s", options, agent)
    host.check_output("rm -f /etc/lab-engine/*")


@pytest.fixture
def engine_of(host: Host) -> Callable[[str], str]:
    """Return a function that installs another version of the engine beside the first and returns its folder."""

    def install(version: str) -> str:
        folder = f"/opt/lab-engines/{version}-lab"
        host.check_output(f"mkdir -p /opt/lab-engines && rm -rf {folder} && cp -a {FIRST} {folder}")
        host.check_output(f"ln -sf /usr/bin/python3 {folder}/bin/python")  # the file that the role engine looks for
        return folder

    return install
