"""The role's variables, evaluated by Ansible: the source of the models, and the token for it."""

import json
import re
import subprocess

import pytest
import yaml
from test_plugins import ROOT

SHARE = {"source": "http://10.0.0.1:8098", "token": "of-this-run"}
HUB = "of-the-hub"


CASES = [
    ("", "two", "", HUB),
    ("https://mirror.example.org", "two", "https://mirror.example.org", HUB),
    ("/media/usb", "two", "/media/usb", ""),
    ("one", "two", SHARE["source"], SHARE["token"]),
    ("one", "one", "", HUB),  # the host that shares its store pulls from the hub
]


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """Return the role's variables in each case, from one run with one play per case."""
    file = tmp_path_factory.mktemp("role") / "play.yml"
    shown = {"msg": "{{ [__models_source, __models_secret, __models_holds_results] }}"}
    common = {"connection": "local", "gather_facts": False, "tasks": [{"ansible.builtin.debug": shown}]}
    common["vars_files"] = [str(ROOT / "roles/models/vars/main.yml")]
    given = {"models_token": HUB, "__models_share": SHARE}
    plays = [common | {"hosts": host, "vars": given | {"models_source": source}} for source, host, *_ in CASES]
    file.write_text(json.dumps(plays))
    command = ["ansible-playbook", "--inventory", "one,two,", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [yaml.safe_load(part)["msg"] for part in re.findall(r"=>(.+?)\n\n", done.stdout, re.DOTALL)]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_hubs_token_is_sent_to_no_folder_and_no_other_host(chosen, number):
    models_source, host, source, token = CASES[number]
    assert chosen[number] == [source, token, models_source in ("/media/usb", "one") and host != "one"]
