"""Exit statuses, and one JSON object whatever happens."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from roundhouse import cli, plan, remote

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch, tmp_path):
    monkeypatch.setattr(plan, "PATH", tmp_path / "plan.json")
    monkeypatch.setattr(plan.load, "__defaults__", (tmp_path / "plan.json",))
    monkeypatch.setattr(remote, "lab_is_up", lambda: False)


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (["dev"], 2, "deploy first"),
        (["--bogus"], 2, "--help lists what is allowed"),
        (["-n", "x", "status"], 2, "invalid int value"),
        ([], 2, "say an agent or a word"),
        (["status", "dev"], 2, "'dev' is one word too many"),
        (["--on", "moon", "status"], 2, "write lab, or ssh://user@host"),
        (["--on", "lab", "status"], 1, "make demo"),
        (["--o", "lab", "status"], 2, "--help lists what is allowed"),
    ],
)
def test_a_refusal_is_one_sentence_and_one_object(capsys, words, status, part):
    assert cli.main(words) == status
    assert part in capsys.readouterr().err
    assert cli.main(["--json", *words]) == status
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert part in answer["errors"][0]["message"]


def test_a_reader_that_goes_away_ends_nothing():
    program = (
        "from roundhouse import output; say = output.progress(); [say('x' * 9000) for _ in range(99)]; print('end')"
    )
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, cwd=SCRIPTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stderr.close()
    assert process.stdout.read() == "end\n"
    assert process.wait() == 0


def test_the_words_that_say_where_are_not_handed_on():
    assert remote.without_on(["--on", "lab", "--json", "dev"]) == ["--json", "dev"]
    assert remote.without_on(["--on=lab", "dev"]) == ["dev"]
