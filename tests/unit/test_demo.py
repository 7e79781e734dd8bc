"""`make demo`: what it shows while it runs, and what it says at its end. The demo itself is run by `make test`."""

import re
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from clock import PATIENCE_SECONDS, Clock

sys.path.append(str(Path(__file__).resolve().parents[2] / "lab"))
import board
import demo

from roundhouse import cli

ROOT = demo.ROOT

AGENTS = {"architect": 8000, "dev": 8001, "po": 8002}


def rows(ready):
    return [
        {"agent": name, "port": port, "state": "ready" if name == ready else "stopped"} for name, port in AGENTS.items()
    ]


@pytest.mark.parametrize("ready", [*AGENTS, None])
def test_the_hints_are_about_what_serves(ready):
    told = demo.go_on(rows(ready))
    commands = [shlex.split(line) for line in re.findall(r"scripts/switch\.py .*?(?=  )", told)]
    for _, *words in commands:
        assert cli.parser().parse_args(words).word in (*AGENTS, *cli.WORDS)
    (switched, _, logged) = (words[1:] for words in commands)
    assert switched[0] in AGENTS.keys() - {ready}
    assert logged == ["logs", ready or switched[0]]
    curl = shlex.split(told.replace("\\\n", " ").strip().splitlines()[-1])
    assert curl[1] == f"http://127.0.0.1:{AGENTS[logged[1]]}/v1/chat/completions"
    assert yaml.safe_load(curl[-1])["model"] == logged[1]


def test_each_agent_of_the_lab_has_a_question():
    roster = yaml.safe_load((ROOT / "inventory/lab/group_vars/all/agents.yml").read_text())["agents"]
    assert [agent["name"] for agent in roster] == [*demo.QUESTIONS]


@pytest.mark.parametrize("hub", [True, False])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("ready", ["po", None])
def test_each_step_is_estimated_also_in_a_first_run(hub, there, ready):
    kinds = demo.Found(there, there, there, there, ready).kinds(hub)
    assert set(kinds.values()) <= demo.SHIPPED.keys()
    assert (demo.BRING in kinds) is not hub
    assert [name for name, kind in kinds.items() if kind == "an answer"] == [f"{ready or 'architect'} answers"]


@pytest.fixture
def clock(monkeypatch):
    """Stand in for the board's clock."""
    clock = Clock()
    clock.strftime = time.strftime
    monkeypatch.setattr(board, "time", clock)
    return clock


def test_steps_side_by_side_are_shown_with_what_they_do_and_how_far_they_are(clock):
    shown = board.Board(["one", "two", "three"], {"one": 600.0, "two": 60.0, "three": 60.0}, beside=[("one", "two")])
    with shown.step("one") as tell, shown.step("two"):
        tell("fetching " + "a long name " * 9)
        clock.sleep(20)
        lines = shown.screen(80).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line[0] for line in lines[:3]] == [">", ">", " "]
    assert "two: beginning (20 s of about 60 s)" in lines
    assert "(20 s of about 10 min)" in " ".join(lines)
    assert lines[-1] == "about 10 min 40 s left, by the last run"  # what is left of `one`, then `three`
    assert shown.seconds() == {"one": 20.0, "two": 20.0}


def test_the_time_left_of_steps_side_by_side_is_that_of_the_longest(clock):
    shown = board.Board(["one", "two", "three"], {"one": 30.0, "two": 60.0}, beside=[("one", "two")])
    assert shown.time_left(clock.now) is None  # `three` has no estimate
    shown.expected = {"one": 30.0, "two": 60.0, "three": 5.0}
    assert shown.time_left(clock.now) == "about 1 min 05 s left, by the last run"
    with shown.step("two"):
        clock.sleep(50)
        with shown.step("one"):  # it began late
            assert shown.time_left(clock.now) == "about 35 s left, by the last run"
    assert shown.time_left(clock.now) == "about 5 s left, by the last run"
    shown.expected = {"one": 30.0, "three": 5.0}
    assert shown.time_left(clock.now) == "about 5 s left, by the last run"  # `two` is over, whatever it was to take


def test_the_reason_of_a_failed_step_is_told_while_another_goes_on(clock, capsys):
    shown = board.Board(["one", "two"], {})
    with shown.step("one"):
        with pytest.raises(board.Failed), shown.step("two"):
            raise board.Failed("the disk is full\nsh failed")
        assert "two: the disk is full\ntwo: sh failed" in shown.screen(80)
        lines = [line[9:] for line in capsys.readouterr().out.splitlines()]
        assert lines[-3:] == ["x two, 0 s", "   the disk is full", "   sh failed"]
    with pytest.raises(board.Failed), shown.step("two"):
        raise board.Failed("the disk is full")
    assert "full" not in capsys.readouterr().out  # whoever called tells it


def test_without_a_terminal_each_running_step_is_a_line_now_and_then(clock, monkeypatch, capsys):
    monkeypatch.setattr(board, "EVERY_SECONDS", 0.01)
    told, say = threading.Event(), board.Board.say

    def listen(self, text):
        say(self, text)
        if "halfway" in text:
            told.set()

    monkeypatch.setattr(board.Board, "say", listen)
    shown = board.Board(["one"], {"one": 60.0})
    with shown.shown(), shown.step("one") as tell:
        tell("halfway")
        assert told.wait(PATIENCE_SECONDS)
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "== one, about 60 s"
    assert "   one: halfway (0 s of about 60 s)" in lines
    assert lines[-1].startswith("+ one")


def test_a_command_that_fails_is_told_by_its_last_lines():
    said = []
    with pytest.raises(board.Failed, match="second\nsh failed"):
        board.command(["sh", "-c", "echo first; echo second >&2; exit 3"], said.append)
    assert said == ["first", "second"]


def test_a_step_that_failed_is_marked_and_its_seconds_are_not_kept():
    shown = board.Board(["one"], {})
    with pytest.raises(board.Failed), shown.step("one"):
        raise board.Failed("it is broken")
    assert shown.seconds() == {}
    assert shown.screen(80).startswith("x one")


def test_what_a_run_took_is_there_for_the_next_one(tmp_path):
    file = tmp_path / "cache/demo.json"
    assert board.recall(file) == {}
    board.keep(file, {"one": 2.5, "two": 3.0})
    board.keep(file, {"one": 4.0})
    assert board.recall(file) == {"one": 4.0, "two": 3.0}
    file.write_text("[]")
    assert board.recall(file) == {}


def test_the_demo_refuses_an_option_that_it_does_not_have():
    done = subprocess.run([sys.executable, ROOT / "lab/demo.py", "--nosuch"], capture_output=True, check=False)
    assert done.returncode == 2
