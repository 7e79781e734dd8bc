"""An Ollama that the roster does not want leaves the card, and nothing of it is deleted."""

import time

import pytest
from conftest import HOSTS
from testinfra.host import Host

# As the scenario's host_vars have it: stop keeps the service for the next boot.
ENABLED_AFTER = {"roundhouse-faults": True, "roundhouse-faults-2": False}


@pytest.mark.parametrize("name", HOSTS)
def test_its_service_is_stopped_as_asked_and_its_files_stay(name):
    host = Host.get_host(f"docker://{name}")
    service = host.service("ollama")
    assert service.is_enabled == ENABLED_AFTER[name]
    # One that is only stopped comes back when the machine boots, as other cases let it.
    booted = time.time() - int(host.check_output("ps --format etimes= --pid 1"))
    boots = booted > host.file("/etc/systemd/system/roundhouse.service").mtime.timestamp()
    assert service.is_running == (boots and ENABLED_AFTER[name])
    assert host.file("/usr/local/bin/ollama").is_file
    assert host.file("/etc/systemd/system/ollama.service").is_file
