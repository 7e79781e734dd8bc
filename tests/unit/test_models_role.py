"""The role's own choices, as Ansible makes them: where models come from, and whose token goes there."""

import json
import subprocess

import pytest
import yaml
from test_plugins import ROOT

OFFER = {"source": "http://10.0.0.1:8098", "token": "of-this-run"}
HUB = "of-the-hub"


@pytest.mark.parametrize(
    ("models_source", "host", "source", "token"),
    [
        ("", "two", "", HUB),
        ("https://mirror.example.org", "two", "https://mirror.example.org", HUB),
        ("/media/usb", "two", "/media/usb", ""),
        ("one", "two", OFFER["source"], OFFER["token"]),
        ("one", "one", "", HUB),  # who offers its store has it from the hub
    ],
)
def test_the_hubs_token_goes_to_no_folder_and_to_no_other_host(tmp_path, models_source, host, source, token):
    shown = {"msg": "{{ [__models_source, __models_secret, __models_holds_results] }}"}
    play = {"hosts": "all", "connection": "local", "gather_facts": False, "tasks": [{"ansible.builtin.debug": shown}]}
    play["vars_files"] = [str(ROOT / "roles/models/vars/main.yml")]
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    given = json.dumps({"models_source": models_source, "models_token": HUB, "__models_offer": OFFER})
    command = ["ansible-playbook", "--inventory", "one,two,", "--limit", host, "--extra-vars", given]
    done = subprocess.run([*command, str(tmp_path / "play.yml")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = yaml.safe_load(done.stdout.partition("=>")[2].partition("PLAY RECAP")[0])["msg"]
    assert told == [source, token, models_source in ("/media/usb", "one") and host != "one"]
