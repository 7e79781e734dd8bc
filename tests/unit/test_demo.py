"""The output of `make demo` during the run and at its end. `make test-all` runs the demo itself."""

import io
import re
import shlex
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import board
import demo
import demo_steps
import pytest
import yaml
from clock import TIMEOUT_SECONDS, Clock
from rich.console import Console

from roundhouse.cli import command, main

ROOT = demo.ROOT

AGENTS = {"architect": 8000, "dev": 8001, "po": 8002}


def rows(ready):
    return [
        {"agent": name, "port": port, "state": "ready" if name == ready else "stopped"} for name, port in AGENTS.items()
    ]


@pytest.mark.parametrize("ready", [*AGENTS, None])
def test_the_hints_name_the_active_agent(ready):
    told = demo.go_on(rows(ready))
    commands = [shlex.split(line) for line in re.findall(r"scripts/switch\.py .*?(?=  )", told)]
    for _, *words in commands:
        found, _ = main.parse(words)
        assert found.name in command.NAMES
    assert f"another agent; {ready or 'no agent'} is active\n" in told
    (switched, _, logged) = (words[1:] for words in commands)
    assert switched[0] in AGENTS.keys() - {ready}
    assert logged == ["logs", ready or switched[0]]
    curl = shlex.split(told.replace("\\\n", " ").strip().splitlines()[-1])
    assert curl[1] == f"http://127.0.0.1:{AGENTS[logged[1]]}/v1/chat/completions"
    assert yaml.safe_load(curl[-1])["model"] == logged[1]


def test_the_demo_knows_the_ports_that_its_host_publishes():
    (play,) = yaml.safe_load((ROOT / "lab/create.yml").read_text())
    assert [int(port) for port in play["vars"]["lab_one_host"]["publish"]] == [*demo.PORTS]


def test_each_agent_of_the_lab_has_a_question():
    roster = yaml.safe_load((ROOT / "inventory/lab/group_vars/all/agents.yml").read_text())["agents"]
    assert [agent["name"] for agent in roster] == [*demo.QUESTIONS]


NOTHING = demo_steps.Found(image=False, engine=False, model=False, host=False, models=frozenset(), ready=None)
HUB = "owner/name"


def found(there, ready=None, model=demo.MODEL):
    return demo_steps.Found(there, there, there, there, frozenset({model} if there else ()), ready)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("ready", ["po", None])
def test_each_step_is_estimated_also_in_a_first_run(monkeypatch, tmp_path, there, ready):
    monkeypatch.setattr(demo_steps, "KEPT", tmp_path / "demo.json")
    kinds = found(there, ready).kinds("")
    assert [*kinds] == demo.steps("")
    assert demo.estimates(kinds)[0].keys() == kinds.keys()
    assert [name for name, kind in kinds.items() if kind == "an answer"] == [f"{ready or 'architect'} answers"]


def test_what_a_hubs_model_takes_is_unknown_before_its_first_run_and_kept_apart(monkeypatch, tmp_path):
    monkeypatch.setattr(demo_steps, "KEPT", tmp_path / "demo.json")
    plain = found(True).kinds("")
    kinds = found(True, model=HUB).kinds(HUB)
    assert [*kinds] == demo.steps(HUB)
    assert demo.PULL not in kinds
    unknown = kinds.keys() - demo.estimates(kinds)[0].keys()
    assert unknown == {demo.SITE, *(f"{name} answers" for name in AGENTS)}
    assert {kinds[name] for name in unknown}.isdisjoint(plain.values())
    board.keep(demo_steps.KEPT, dict.fromkeys(kinds.values(), 300.0))
    assert demo.estimates(kinds) == (dict.fromkeys(kinds, 300.0), "earlier runs")
    assert demo.estimates(plain)[0][demo.SITE] == demo.SHIPPED[f"{demo.SITE}, again"]


@pytest.mark.parametrize(("has", "hub"), [(HUB, ""), (demo.MODEL, HUB)])
def test_site_yml_with_another_model_than_the_hosts_counts_as_a_first_run(has, hub):
    assert found(True, model=has).kinds(hub)[demo.SITE].startswith(f"{demo.SITE}, another model")


class Docker:
    """A replacement of Docker for the demo: images, and the host's state, image and output."""

    def __init__(self, images, up=True, of_host="this", in_volumes="engine model"):
        self.images, self.up, self.of_host, self.in_volumes = images, up, of_host, in_volumes
        self.ran = None

    def __call__(self, *words):
        match words:
            case ("lab/image.sh", "--name", *_):
                return "lab:bookworm-this\n"
            case ("docker", "images", *_):
                return "\n".join(self.images)
            case ("docker", "run", *_):
                self.ran = next(word for word in words if word.startswith("lab:"))
                return self.in_volumes
            case ("docker", "container", "inspect", *_):
                return f"sha256:{self.of_host}"
            case ("docker", "image", "inspect", *_):
                return "sha256:this"
        raise AssertionError(words)


@pytest.fixture
def inspect(monkeypatch):
    """Return a function that inspects a Docker, with the agents of a host with the demo's model."""

    def at(docker):
        monkeypatch.setattr(demo_steps, "_output", docker)
        monkeypatch.setattr(demo_steps.target_host, "lab_is_up", lambda: docker.up)
        monkeypatch.setattr(demo_steps, "deployed", lambda: [row | {"model": demo.MODEL} for row in rows("dev")])
        return demo_steps.inspect(lambda _: None)

    return at


def test_the_demo_finds_the_image_the_engine_and_the_agent(inspect):
    assert inspect(Docker(["lab:bookworm-this"])) == found(True, "dev")
    assert inspect(Docker([])) == NOTHING
    assert inspect(Docker(["lab:bookworm-this"], up=False, in_volumes="")) == NOTHING._replace(image=True)


@pytest.mark.parametrize("other", ["lab:bookworm-fake-this", "lab:bookworm-old"])
def test_an_image_of_other_inputs_is_not_the_hosts_but_shows_the_volumes(inspect, other):
    docker = Docker([other], of_host="old")
    assert inspect(docker) == NOTHING._replace(engine=True, model=True)
    assert docker.ran == other
    docker = Docker([other, "lab:bookworm-this"], of_host="old")  # create.yml recreates such a host
    assert inspect(docker) == NOTHING._replace(image=True, engine=True, model=True)
    assert docker.ran == "lab:bookworm-this"


def test_a_docker_error_is_reported_verbatim():
    with pytest.raises(board.Failed, match="no such thing\nsh -c failed with status 3"):
        demo_steps._output("sh", "-c", "echo no such thing >&2; exit 3")


@pytest.fixture
def clock(monkeypatch):
    """Replace the board's clock."""
    clock = Clock()
    clock.strftime = time.strftime
    monkeypatch.setattr(board, "time", clock)
    return clock


def test_parallel_steps_are_shown_with_their_action_and_progress(clock):
    shown = board.Board(["one", "two", "three"], {"one": 600.0, "two": 60.0, "three": 60.0}, beside=[("one", "two")])
    with shown.step("one") as tell, shown.step("two"):
        tell("fetching " + "a long name " * 9)
        clock.sleep(20)
        lines = shown.screen(80).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line[0] for line in lines[:3]] == [">", ">", " "]
    assert "two: beginning (20 s of about 60 s)" in lines
    assert "(20 s of about 10 min)" in " ".join(lines)
    assert lines[-1] == "about 10 min 40 s left, by the last run"  # the rest of `one`, then `three`
    assert shown.seconds() == {"one": 20.0, "two": 20.0}


def test_the_time_left_of_parallel_steps_is_that_of_the_longest(clock):
    shown = board.Board(["one", "two", "three"], {"one": 30.0, "two": 60.0}, beside=[("one", "two")])
    assert shown.time_left(clock.now) is None  # `three` has no estimate
    shown.expected = {"one": 30.0, "two": 60.0, "three": 5.0}
    assert shown.time_left(clock.now) == "about 1 min 05 s left, by the last run"
    with shown.step("two"):
        clock.sleep(50)
        with shown.step("one"):  # a late start
            assert shown.time_left(clock.now) == "about 35 s left, by the last run"
    assert shown.time_left(clock.now) == "about 5 s left, by the last run"
    shown.expected = {"one": 30.0, "three": 5.0}
    assert shown.time_left(clock.now) == "about 5 s left, by the last run"  # `two` has ended


def test_the_reason_of_a_failed_step_is_printed_while_another_step_runs(clock, capsys):
    shown = board.Board(["one", "two"], {}, beside=[("one", "two")])
    with shown.step("one"):
        with pytest.raises(board.Failed), shown.step("two"):
            raise board.Failed("the disk is full\nsh failed")
        assert "two: the disk is full\ntwo: sh failed" in shown.screen(80)
        lines = [line[9:] for line in capsys.readouterr().out.splitlines()]
        assert lines[-3:] == ["x two, 0 s", "   the disk is full", "   sh failed"]
    with pytest.raises(board.Failed), shown.step("two"):
        raise board.Failed("the disk is full")
    assert "full" not in capsys.readouterr().out  # the caller shows it


def test_without_a_terminal_each_running_step_prints_a_line_at_intervals(clock, monkeypatch, capsys):
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
        assert told.wait(TIMEOUT_SECONDS)
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "== one, about 60 s"
    assert "   one: halfway (0 s of about 60 s)" in lines
    assert lines[-1].startswith("+ one")


def test_a_part_of_a_step_is_a_line_of_its_own_with_its_seconds(clock, capsys):
    shown = board.Board(["site"], {})
    with shown.step("site"):
        shown.part("site", board.Stage("Install the engine", board.DONE, 12, 3, 50.0, 80.0))
        lines = shown.screen(80).splitlines()
    assert lines[1].split() == ["+", "Install", "the", "engine", "12", "tasks,", "3", "changed,", "30", "s"]
    assert len(lines[1]) <= 80
    assert "   Install the engine: 12 tasks, 3 changed, 30 s" in capsys.readouterr().out
    assert shown.seconds() == {"site": 0.0}


def test_the_plays_of_a_playbook_are_parts_and_ansibles_output_is_in_the_log(monkeypatch, tmp_path):
    def run(wanted, feed, log):
        for at, name in ((10.0, "Install the engine"), (40.0, "Deploy the agents")):
            feed(board.Event(at, "play", name, None, None, None))
            feed(board.Event(at + 1, "changed", name, "Write a file", "host", None))
        print("TASK [engine : Write a file]", file=log)
        return "successful"

    monkeypatch.setattr(board.setup_run, "run", run)
    with (tmp_path / "log").open("w") as log:
        shown = board.Board(["site"], {}, log=log)
        with shown.step("site") as tell:
            board.playbook(None, shown, "site", tell)
    assert [line.split(maxsplit=1)[1].split("  ")[0] for line in shown.screen(80).splitlines()[1:3]] == [
        "Install the engine",
        "Deploy the agents",
    ]
    assert (tmp_path / "log").read_text() == "TASK [engine : Write a file]\n"


def test_a_command_writes_its_output_to_the_log(tmp_path):
    with (tmp_path / "log").open("w") as log:
        board.command(["sh", "-c", "echo first; echo second >&2"], str, log)
    assert (tmp_path / "log").read_text() == "first\nsecond\n"


def test_the_hints_fit_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for ready in AGENTS:
        assert max(map(len, demo.go_on(rows(ready)).splitlines())) <= 80


def test_a_failed_command_is_reported_with_its_last_lines():
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


def test_the_seconds_of_a_run_are_kept_for_the_next_one(tmp_path):
    file = tmp_path / "cache/demo.json"
    assert board.recall(file) == {}
    board.keep(file, {"one": 2.5, "two": 3.0})
    board.keep(file, {"one": 4.0})
    assert board.recall(file) == {"one": 4.0, "two": 3.0}
    file.write_text("[]")
    assert board.recall(file) == {}


def test_a_failed_step_is_reported_before_a_parallel_step_ends(monkeypatch):
    told, say = threading.Event(), board.Board.say

    def listen(self, text):
        say(self, text)
        if "no room" in text:
            told.set()

    def command(words, *_, **__):
        if words[-1] == "lab/create.yml":
            raise board.Failed("no room")
        assert words[0] == "lab/image.sh" or told.wait(TIMEOUT_SECONDS)

    monkeypatch.setattr(board.Board, "say", listen)
    monkeypatch.setattr(demo, "command", command)
    with pytest.raises(board.Failed, match=r"^no room$"):
        demo.prepare(board.Board(demo.steps(""), {}, beside=demo.BESIDE), "")


SWITCHES = {
    "": "ended with status 1 and printed no result, but: nothing",
    "Traceback": "ended with status 1 and printed no result, but: Traceback",
    "[]": "ended with status 1 and printed no result, but: []",
    '{"errors": [{"message": "dev is not there."}]}': "dev is not there.",
}


@pytest.mark.parametrize("printed", SWITCHES)
def test_a_failed_switch_is_reported_in_one_sentence(tmp_path, monkeypatch, printed):
    switch_to(tmp_path, monkeypatch, printed, 1)
    told = []
    with pytest.raises(board.Failed) as failed:
        demo.switch("dev", told.append)
    assert str(failed.value).endswith(SWITCHES[printed])
    assert told == ["stopping po"]
    assert ("stopping po" in str(failed.value)) is ("printed no result" in SWITCHES[printed])


def test_a_switch_reports_the_seconds_of_its_stages(tmp_path, monkeypatch):
    switch_to(tmp_path, monkeypatch, '{"stages": {"stop": 1.5, "start": 40.0}}', 0)
    assert demo.switch("dev", lambda _: None) == {"stop": 1.5, "start": 40.0}


def switch_to(tmp_path, monkeypatch, printed, status):
    """Return a function that replaces the command with one that logs a line, prints a text and exits with a status."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/switch.py").write_text(
        f"import sys\nprint('[  0.1 s] stopping po', file=sys.stderr)\nprint({printed!r})\nsys.exit({status})\n"
    )
    monkeypatch.setattr(demo, "ROOT", tmp_path)


@pytest.mark.parametrize(("reason", "ending"), [("stop", "reversed."), ("length", "reversed.\n(cut at 512 tokens)")])
def test_a_truncated_answer_is_marked(monkeypatch, reason, ending):
    asked = answers(monkeypatch, "  It is reversed.\n", reason)
    assert demo.ask("dev", 8001).endswith(ending)
    assert asked["max_tokens"] == 512
    assert asked["messages"][0]["content"] == demo.QUESTIONS["dev"]


def test_an_agent_without_an_answer_is_reported_in_one_sentence(monkeypatch):
    answers(monkeypatch, " ", "stop")
    with pytest.raises(board.Failed, match="dev gave an empty answer"):
        demo.ask("dev", 8001)
    monkeypatch.undo()
    with pytest.raises(board.Failed, match=r"dev did not answer .*: scripts/switch\.py logs dev"):
        demo.ask("dev", 1)  # nothing listens there


def test_an_answer_that_does_not_fit_the_question_fails_the_demo(monkeypatch):
    answers(monkeypatch, 'A.ak", the loop (w *coroutine', "stop")
    for agent, sign in demo.SIGNS.items():
        with pytest.raises(board.Failed, match=f"{agent}: the answer does not fit the question"):
            demo.ask(agent, 8001, sign)
    assert demo.SIGNS.keys() == demo.QUESTIONS.keys()
    answers(monkeypatch, "def reverse(text):\n    return text[::-1]", "stop")
    assert demo.ask("dev", 8001, demo.SIGNS["dev"]).startswith("def reverse")


def answers(monkeypatch, text, reason):
    """Replace the engine's answer; return the recorded requests."""
    asked = {}
    choice = SimpleNamespace(message=SimpleNamespace(content=text), finish_reason=reason)

    def create(**given):
        asked.update(given)
        return SimpleNamespace(choices=[choice])

    completions = SimpleNamespace(completions=SimpleNamespace(create=create))
    monkeypatch.setattr(demo.openai, "OpenAI", lambda **_: SimpleNamespace(chat=completions))
    return asked


@pytest.mark.parametrize("switch", [None, 45.12])
def test_an_answer_is_a_block_in_the_whole_width(switch):
    code = f"def reverse(text):\n{'    return text[::-1]  # as wide as the screen ':.<80}"
    shown = Console(width=80, file=io.StringIO())
    shown.print(demo.Served("dev", 8001, "SmolLM2-135M-Instruct", switch, 7.26, f"{code}\n[not markup]").text())
    heading, question, empty, *answer = shown.file.getvalue().splitlines()
    took = "switch 45.1 s" if switch else "already active"
    assert heading == f"dev, port 8001, SmolLM2-135M-Instruct: {took}, answer 7.3 s"
    assert question == demo.QUESTIONS["dev"]
    assert empty == ""
    assert "\n".join(answer).rstrip() == f"{code}\n[not markup]"


def test_the_demo_refuses_an_option_that_it_does_not_have():
    done = subprocess.run([sys.executable, ROOT / "lab/demo.py", "--nosuch"], capture_output=True, check=False)
    assert done.returncode == 2
