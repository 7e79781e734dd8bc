"""Where one thing has to stand twice, both say the same."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from roundhouse import cli, formats, output, roster

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def read(path):
    """Return a YAML file's content, an empty mapping where there is none."""
    file = ROOT / path
    return yaml.safe_load(file.read_text()) if file.exists() else {}


def options(role):
    return read(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_defaults_are_those_of_its_argument_specification(role):
    specified = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert read(f"roles/{role}/defaults/main.yml") == specified


def test_the_argument_specification_of_the_roster_is_the_rosters():
    fields = options("preflight")["agents"]["options"]
    assert set(fields) == {*roster.REQUIRED, *roster.OPTIONAL}
    assert {name for name, field in fields.items() if field.get("required")} == set(roster.REQUIRED)
    assert fields["models"]["options"]["quantization"]["choices"] == list(formats.FORMATS)


def test_the_lab_has_the_same_agents_as_the_shipped_roster():
    same = ("name", "description", "port", "gpu_memory_utilization", "temperature", "top_p")
    shipped, lab = (read(f"{folder}group_vars/all/agents.yml")["agents"] for folder in ("", "inventory/lab/"))
    assert [{key: agent[key] for key in same} for agent in shipped] == [
        {key: agent[key] for key in same} for agent in lab
    ]


def test_galaxy_and_pypi_give_the_same_versions_of_the_collections():
    for entry in read("requirements.yml")["collections"]:
        namespace, name = entry["name"].split(".")
        manifest = read(f".collections/ansible_collections/{namespace}/{name}/MANIFEST.json")
        assert manifest["collection_info"]["version"] == entry["version"]


def test_the_readme_shows_the_commands_own_help():
    readme = (ROOT / "README.md").read_text()
    block = re.search(r"<!-- switch.py --help -->\n```text\n(.*?)```", readme, re.DOTALL)
    assert block
    assert block[1] == output.help_text(cli.parser())


def test_the_readme_shows_what_plan_py_prints():
    readme = (ROOT / "README.md").read_text()
    shown = re.search(r"\$ scripts/plan\.py (.*)\n(?s:(.*?))```", readme)
    assert shown
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/plan.py", *shlex.split(shown[1])], capture_output=True, text=True, check=True
    )
    assert shown[2] == done.stdout


def test_every_playbook_parses():
    command = ["ansible-playbook", "--syntax-check", "site.yml", "--inventory"]
    for inventory in ("inventory/local", "inventory/lab"):
        done = subprocess.run([*command, inventory], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
