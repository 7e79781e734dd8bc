"""ollama_policy stops or disables Ollama's service, and nothing of Ollama is deleted."""

import os
import subprocess

import pytest
from conftest import INVENTORY, NAME

from roundhouse.paths import CHECKOUT as ROOT


@pytest.mark.parametrize(("policy", "enabled"), [("leave", True), ("stop", True), ("disable", False)])
def test_ollamas_service_is_stopped_and_its_files_stay(host, policy, enabled):
    host.check_output("systemctl enable --now ollama")
    command = ["ansible-playbook", "--inventory", INVENTORY, "--limit", NAME]
    command += ["--extra-vars", f"ollama_policy={policy}", "molecule/switch-faults/ollama.yml"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    service = host.service("ollama")
    # With stop, the service starts again at the next boot.
    assert (service.is_running, service.is_enabled) == (policy == "leave", enabled)
    assert host.file("/usr/local/bin/ollama").is_file
    assert host.file("/etc/systemd/system/ollama.service").is_file
