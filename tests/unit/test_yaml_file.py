"""Errors of YAML files: in util/yaml_file.py, and as ansible-playbook, scripts/plan.py and setup_vllm.py show them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from roundhouse.errors import UsageError
from roundhouse.paths import CHECKOUT
from roundhouse.util import yaml_file

BAD = """\
agents:
  - name: dev
    port: 8001
 - name: po
    port: 8002
"""
TWICE = """\
agents:
  - name: dev
    port: 8001
    temperature: 0.2
    port: 8002
"""


def error_of(text):
    with pytest.raises(UsageError) as found:
        yaml_file.check(Path("group_vars/all/agents.yml"), text)
    return found.value


def test_an_error_names_the_file_the_line_the_column_and_shows_the_line():
    error = error_of(BAD)
    assert (error.code, error.fields["line"], error.fields["column"]) == ("yaml_invalid", 4, 2)
    assert error.message.startswith("group_vars/all/agents.yml:4:2: ")
    assert error.message.endswith("\n   - name: po\n   ^")


def test_a_tab_is_named():
    error = error_of("agents:\n  - name: dev\n\tport: 1\n")
    assert (error.fields["line"], error.fields["column"]) == (3, 1)
    assert "not with tabs" in error.remedy


@pytest.mark.parametrize("text", [TWICE, "a:\n  b: {x: 1, y: [{z: 1}], x: 2}\n"])
def test_a_duplicate_key_is_an_error_with_both_lines(text):
    error = error_of(text)
    assert error.code == "yaml_key_twice"
    if text == TWICE:
        assert (error.fields["first"], error.fields["line"], error.fields["key"]) == (3, 5, "port")
        assert error.message.endswith("\n  3:     port: 8001\n  5:     port: 8002")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  61\n",
        "$ANSIBLE_VAULT;1.1;AES256\n61\n",
        '{\n\t"a": 1}',
        "a: &x {b: 1}\nc: {<<: *x, d: 1}\n",
        "a: {x: 1}\nb: {x: 1}\n",
        "- {x: 1}\n- {x: 1}\n",
    ],
)
def test_what_ansible_reads_is_accepted(text):
    yaml_file.check(Path("x.yml"), text)


@pytest.fixture
def project(tmp_path):
    """Return a function that writes a roster beside an inventory and runs a program of the checkout on it."""
    shutil.copy(CHECKOUT / "inventory/local/hosts.yml", tmp_path)
    (tmp_path / "group_vars/all").mkdir(parents=True)
    roster = tmp_path / "group_vars/all/agents.yml"

    def run(text, *words):
        roster.write_text(text)
        env = os.environ | {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        program = str(Path(sys.executable).with_name(words[0])) if "/" not in words[0] else words[0]
        done = subprocess.run([program, *words[1:]], cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    run.inventory, run.roster = str(tmp_path / "hosts.yml"), str(roster)
    return run


@pytest.mark.parametrize(("text", "line"), [(BAD, "4:2"), (TWICE, "5:5")])
@pytest.mark.parametrize("program", ["ansible-playbook", "ansible-inventory", "plan.py", "setup_vllm.py"])
def test_each_program_that_reads_the_roster_names_the_place(project, text, line, program):
    words = {
        "ansible-playbook": ["ansible-playbook", "--inventory", project.inventory, "site.yml"],
        "ansible-inventory": ["ansible-inventory", "--inventory", project.inventory, "--list"],
        "plan.py": [sys.executable, "scripts/plan.py", "--roster", project.roster, "--gpu", "RTX 4090"],
        "setup_vllm.py": [sys.executable, "scripts/setup_vllm.py", "--inventory", project.inventory],
    }[program]
    status, said = project(text, *words)
    assert status != 0
    assert f"{project.roster}:{line}: " in said


def test_a_file_of_a_group_without_hosts_is_not_read(project, tmp_path):
    (tmp_path / "group_vars/others.yml").write_text(BAD)
    assert project("agents: []\n", "ansible-inventory", "--inventory", project.inventory, "--list")[0] == 0


@pytest.mark.parametrize("libyaml", [True, False])
def test_a_file_is_read_with_and_without_libyaml(tmp_path, monkeypatch, libyaml):
    """Read it by libyaml's loader, and by Python's where PyYAML was built without; both are safe."""
    assert hasattr(yaml, "CSafeLoader")
    unused = yaml.SafeLoader if libyaml else yaml.CSafeLoader
    monkeypatch.setattr(unused, "get_single_data", lambda _: pytest.fail("the other loader reads the file"))
    if not libyaml:
        monkeypatch.delattr(yaml, "CSafeLoader")
    path = tmp_path / "agents.yml"
    path.write_text("agents: [{name: dev, port: 8001, share: 0.9, quantize: null}]\n")
    assert yaml_file.read(path) == {"agents": [{"name": "dev", "port": 8001, "share": 0.9, "quantize": None}]}
    path.write_text("agents: !!python/object/apply:os.getpid []\n")
    with pytest.raises(yaml.YAMLError):
        yaml_file.read(path)
