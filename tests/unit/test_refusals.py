"""An invalid roster is refused with one sentence by the filter, the role and the command."""

import copy
import json
import os
import subprocess
import sys

import pytest
import yaml

from roundhouse.paths import CHECKOUT as ROOT

# A change to the shipped roster's first agent -> the field, the value and the allowed values that the sentence names.
CASES = {
    "unknown format": ({"models": [{"model": "own/model", "quantization": "int3"}]}, ("quantization", "int3", "awq")),
    "llama.cpp's format": (
        {"models": [{"model": "own/model", "quantization": "q4_K_M"}]},
        ("quantization", "q4_K_M", "awq"),
    ),
    "port twice": ({"port": 8001}, ("port", "8001", "a different port")),
    "beyond the model": (
        {"max_model_len": 65536, "models": [{"model": "Qwen/Qwen2.5-7B-Instruct-AWQ"}]},
        ("max_model_len", "65536", "32768"),
    ),
    "a percentage": ({"gpu_memory_utilization": 85}, ("gpu_memory_utilization", "85", "above 0 and at most 1")),
    "a word of the command": ({"name": "status"}, ("name", "status", "choose a name other than")),
}


def roster(changes):
    agents = yaml.safe_load((ROOT / "group_vars/all/agents.yml").read_text())["agents"]
    return [copy.deepcopy(agents[0]) | changes, *agents[1:]]


@pytest.fixture(scope="module")
def messages_of_ansible(tmp_path_factory):
    """Return the messages of the playbooks' first task and of the role in each case, from one run."""
    folder = tmp_path_factory.mktemp("refusals")
    tasks = []
    for case, (changes, _) in CASES.items():
        for way, part in (("playbook", {"tasks_from": "inspect_once.yml"}), ("role", {})):
            role = {"ansible.builtin.include_role": {"name": "preflight"} | part}
            rescue = note({f"{way} {case}": "{{ ansible_failed_result | string }}"})
            tasks.append({"block": [role], "rescue": [rescue], "vars": {"agents": roster(changes)}})
    told = {"content": "{{ told | to_json }}", "dest": str(folder / "told.json")}
    tasks.append({"ansible.builtin.copy": told})
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    command = ["ansible-playbook", "--inventory", "inventory/local", str(folder / "play.yml")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "told.json").read_text())


def note(said):
    """Return the task that appends a message."""
    added = "{{ told | default({}) | combine(said) }}"
    return {"ansible.builtin.set_fact": {"told": added}, "vars": {"said": said}}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", ["playbook", "role"])
def test_ansible_names_field_value_and_the_allowed_values(messages_of_ansible, way, case):
    sentence = messages_of_ansible[f"{way} {case}"]
    for part in CASES[case][1]:
        assert part in sentence, sentence


@pytest.mark.parametrize("case", CASES)
def test_the_command_reports_the_same(tmp_path, case):
    changes, parts = CASES[case]
    file = tmp_path / "agents.yml"
    file.write_text(json.dumps({"agents": roster(changes)}))
    command = [sys.executable, ROOT / "scripts/plan.py", "--vram-gib", "16", "--roster", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    for part in parts:
        assert part in done.stderr
