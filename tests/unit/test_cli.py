"""Exit statuses, and one JSON object whatever happens."""

import json
import subprocess
import sys

import pytest

from roundhouse.agents import gpu_usage
from roundhouse.cli import main, remote
from roundhouse.paths import CHECKOUT
from roundhouse.plan import deployed

SCRIPTS = CHECKOUT / "scripts"


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch, tmp_path):
    monkeypatch.setattr(deployed, "PATH", tmp_path / "plan.json")
    monkeypatch.setattr(deployed.load, "__defaults__", (tmp_path / "plan.json",))


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (["dev"], 2, "Deploy first"),
        (["--bogus"], 2, "--help lists what is allowed"),
        (["-n", "x", "status"], 2, "invalid int value"),
        ([], 2, "say an agent or a word"),
        (["status", "dev"], 2, "'dev' is one word too many"),
        (["--on", "moon", "status"], 2, "write lab, or ssh://user@host"),
        (["--on", "lab", "status"], 1, "make demo"),
        (["--o", "lab", "status"], 2, "--help lists what is allowed"),
        (["help", "nothing"], 2, "help has no 'nothing'"),
    ],
)
def test_a_refusal_is_one_sentence_and_one_object(capsys, words, status, part):
    assert main.main(words) == status
    assert part in capsys.readouterr().err
    assert main.main(["--json", *words]) == status
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert part in answer["errors"][0]["message"]


def test_the_cards_are_shown_where_nothing_was_deployed_too(capsys):
    assert main.main(["--json", "gpu"]) == 0
    assert json.loads(capsys.readouterr().out)["gpus"] == gpu_usage.cards()


@pytest.mark.parametrize("words", [["help"], ["help", "man"], ["help", "completion"], ["--help"], ["-h"]])
def test_help_with_json_is_one_object_with_the_text(capsys, words, monkeypatch):
    monkeypatch.setattr(remote, "lab_is_up", lambda: True)  # it is about this program, so no other host is asked
    plain = [words[0], *words[1:]]
    if words[0] == "help":
        assert main.main(plain) == 0
    else:
        with pytest.raises(SystemExit):
            main.main(plain)
    text = capsys.readouterr().out
    assert main.main(["--json", *words]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["schema"], answer["ok"], answer["errors"], answer["text"]) == (1, True, [], text)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["watch", "--json"], "watch has no end"),
        (["watch", "--json", "--rounds", "1"], "watch has no end"),
        (["watch", "--every", "0", "--rounds", "1"], "--every is 0"),
        (["watch", "--rounds", "-1"], "--rounds is -1"),
        (["history", "-n", "-5"], "history takes -n with a number from 0, not -5"),
        (["history", "--json", "-n", "-5"], "history takes -n with a number from 0, not -5"),
        (["logs", "dev", "-n", "-5"], "logs takes -n with a number from 0"),
    ],
)
def test_what_a_word_cannot_take_is_refused_with_a_sentence(capsys, words, part, monkeypatch):
    monkeypatch.setattr(deployed, "load", lambda: {"agents": [{"name": "dev"}]})
    assert main.main(words) == 2
    said = capsys.readouterr()
    if "--json" in words:
        answer = json.loads(said.out)
        assert (answer["ok"], answer["errors"][0]["code"]) == (False, "usage")
        assert part in answer["errors"][0]["message"]
    else:
        assert part in said.err


def test_a_reader_that_goes_away_ends_nothing():
    program = (
        "from roundhouse.util import console; say = console.progress(); "
        "[say('x' * 9000) for _ in range(99)]; print('end')"
    )
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, cwd=SCRIPTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stderr.close()
    assert process.stdout.read() == "end\n"
    assert process.wait() == 0


def test_the_words_that_say_where_are_not_handed_on():
    assert remote.without_on(["--on", "lab", "--json", "dev"]) == ["--json", "dev"]
    assert remote.without_on(["--on=lab", "dev"]) == ["dev"]
