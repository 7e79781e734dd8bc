"""setup_vllm.py: real runs of ansible-runner on this machine, with a playbook of a few tasks instead of site.yml."""

import contextlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import pytest
from clock import until

from roundhouse.cli import setup, setup_run, setup_screen
from roundhouse.cli.setup_run import Event, Run
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.util import progress

FIRST = """
- name: First
  hosts: all
  gather_facts: false
  tags: driver
  tasks:
    - name: Change a thing
      ansible.builtin.file: {path: "{{ folder }}/made", state: touch, mode: "0600"}
    - name: Try
      block:
        - name: Fail and be rescued
          ansible.builtin.fail: {msg: nobody is told of this}
      rescue:
        - name: Go on
          ansible.builtin.debug: {msg: fine}
"""
SECOND = """
- name: Second
  hosts: all
  gather_facts: false
  tags: models
  tasks:
"""
WELL = """
    - name: Work
      ansible.builtin.assert: {that: said | default('two words') == 'two words'}
"""
SEEN = """
    - name: Work until the screen has been seen
      ansible.builtin.command: timeout 60 sh -c 'until [ -e {{ folder }}/seen ]; do sleep 0.05; done'
      changed_when: false
"""
SLOWLY = """
    - name: Work
      ansible.builtin.command: sh -c 'touch {{ folder }}/begun; exec sleep 60'
"""
# A task that fails on the host of that name -> the sentence that its failure is told by.
FAILURES = {
    "sentence": ("fail: {msg: 'agents[dev].port is 80: write another.'}", "agents[dev].port is 80: write another."),
    "loop": ("fail: {msg: 'item {{ item }} is bad'}\n      loop: [1]", "item 1 is bad"),
    "command": ("command: sh -c 'echo first; echo the last word >&2; exit 3'", "the last word"),
}


class Ended(NamedTuple):
    """What a run of the command came to."""

    status: int
    out: list[str]
    err: list[str]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return what writes a playbook and an inventory and gives the inventory; all lies in its `.folder`."""
    folder = tmp_path_factory.mktemp("site")
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "folder": str(folder)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))

        def write(*plays, hosts=("here",)):
            (folder / "site.yml").write_text("".join(plays))
            (folder / "hosts.json").write_text(json.dumps({"all": {"vars": common, "hosts": dict.fromkeys(hosts)}}))
            return str(folder / "hosts.json")

        write.folder = folder
        yield write


def run(inventory, *words):
    """Run the command with the playbook beside the inventory."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup_run, "PLAYBOOK", str(Path(inventory).with_name("site.yml")))
        status = setup.main(["--inventory", inventory, *words])
    return Ended(status, out.getvalue().splitlines(), err.getvalue().splitlines())


@pytest.fixture(scope="module")
def interrupted_and_again(site):
    """Run it, press Ctrl-C in its second play, and run the same command to its end, with a word of two words."""

    def interrupt():
        until((site.folder / "begun").exists)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    first = run(site(FIRST, SECOND, SLOWLY))
    return first, run(site(FIRST, SECOND, WELL), "--", "--extra-vars", '{"said": "two words"}')


def test_ctrl_c_ends_it_and_the_same_command_completes_it(interrupted_and_again):
    first, again = interrupted_and_again
    assert first.status == 130
    assert first.err[0].startswith("Interrupted: what is done stays")
    assert (again.status, again.err) == (0, [])


def test_a_run_in_a_pipe_is_a_log_with_its_stages(interrupted_and_again):
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in interrupted_and_again[1].out]
    assert lines[:3] == ["== First", "   changed Change a thing (here)", "   FAILED Fail and be rescued (here)"]
    assert lines[3] == "== Second"
    assert re.fullmatch(r"\+ First   3 tasks, 1 changed, \d+ s", lines[4])
    assert re.fullmatch(r"\+ Second  1 task, 0 changed, \d+ s", lines[5])


def test_a_word_for_ansible_stays_one_word(interrupted_and_again):
    assert interrupted_and_again[1].status == 0  # its task compares it


def test_the_failing_tasks_own_sentence_is_last(site):
    tasks = [
        f"\n    - name: Fail on {host}\n      ansible.builtin.{task}\n      when: inventory_hostname == '{host}'\n"
        for host, (task, _) in FAILURES.items()
    ]
    ended = run(site(SECOND, *tasks, hosts=FAILURES))
    assert ended.status == 1
    assert ended.err == [f"{host}: {sentence}" for host, (_, sentence) in FAILURES.items()]
    assert "x Second" in ended.out[-1]


def test_a_run_in_a_terminal_is_one_screen_of_80_columns(site):
    words, place = ["--inventory", site(FIRST, SECOND, SEEN)], str(site.folder / "site.yml")
    code = f"from roundhouse.cli import setup, setup_run; setup_run.PLAYBOOK = {place!r}; setup.main({words!r})"
    leader, terminal = pty.openpty()
    command = f'stty cols 80 rows 24; exec {sys.executable} -c "$CODE"'
    own = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    own |= {"TERM": "xterm", "CODE": code}
    with subprocess.Popen(["sh", "-c", command], stdin=terminal, stdout=terminal, stderr=terminal, env=own) as running:
        os.close(terminal)
        told = all_of(leader, lambda so_far: b"> Second" in so_far and (site.folder / "seen").touch())
    assert running.returncode == 0, told
    lines = [line.rstrip("\r") for line in re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\r", "\n", told).splitlines()]
    assert [line for line in lines if len(line) > 80] == []
    assert any(line.startswith("> Second") for line in lines)
    # What stays: the screen is drawn over, and the stages are told once more.
    assert [re.sub(r"\s+", " ", line) for line in lines if line][-1].startswith("+ Second 1 task, 0 changed,")


def all_of(leader, look):
    """Return what is written to a terminal until its other end is closed, which Linux tells by an error.

    `look` gets what has come so far, each time that more has.
    """
    told = b""
    while True:
        try:
            told += os.read(leader, 65536)
        except OSError:
            return told.decode()
        look(told)


def test_one_stage_alone_where_it_is_named(site):
    (site.folder / "made").unlink(missing_ok=True)
    ended = run(site(FIRST, SECOND, WELL), "--download-models")
    assert ended.status == 0
    assert not (site.folder / "made").exists()
    assert "First" not in "".join(ended.out)


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        ([], ()),
        (["--install-dependencies", "--download-models", "--setup-docker"], ()),
        (["--download-models"], ("models",)),
        (["--setup-docker", "--deploy-agents"], ("containers", "agents", "gateway")),
    ],
)
def test_the_guides_words_are_parts_of_site_yml(words, tags):
    assert setup.tags(setup.parser().parse_args(words)) == tags


# Plays of their own within each row; driver and containers are parts of one.
@pytest.mark.parametrize("tags", [("driver", "engine", "models"), ("containers", "agents", "gateway")])
def test_each_of_them_is_there(tags):
    wanted = setup_run.Wanted(tags, str(ROOT / "inventory/lab"), ())
    assert len(setup_run.stages(wanted)) == 1 + len(tags)


def test_no_other_tag_is_a_part():
    assert sorted(tag for part in setup.TAGS.values() for tag in part) == sorted(
        ("driver", "engine", "models", "containers", "agents", "gateway")
    )


def test_an_inventory_that_is_not_there_is_refused(capfd):
    assert setup.main(["--inventory", "no/such"]) == 2
    assert "--inventory is 'no/such'" in capfd.readouterr().err


def test_a_word_that_is_not_behind_the_dashes_is_refused(capfd):
    assert setup.main(["foo", "--", "--check"]) == 2
    assert capfd.readouterr().err == (
        "scripts/setup_vllm.py does not take 'foo'. Put what is for ansible-playbook behind `--`.\n"
    )


def test_without_a_checkout_it_says_so(capfd, tmp_path, monkeypatch):
    monkeypatch.setattr(setup_run, "ROOT", tmp_path)
    assert setup.main(["--inventory", str(tmp_path)]) == 2
    assert f"{tmp_path} is not a checkout of Roundhouse" in capfd.readouterr().err


def test_the_screen_tells_the_time_left_where_the_last_run_did():
    run = Run(["First", "Second"])
    run.feed(Event(0.0, "play", "First", None, None, None))
    run.feed(Event(1.0, "note", None, None, "gpu", "3.1 of 9.3 GiB, 2 min left"))
    told = setup_screen.screen(run, 40, 10.0, {"First": 40.0, "Second": 60.0})
    assert "gpu: 3.1 of 9.3 GiB, 2 min left" in told
    assert told.endswith("about 1 min 30 s left, by the last run")
    assert max(map(len, told.splitlines())) <= 40
    assert "last run" not in setup_screen.screen(run, 40, 10.0, {"First": 40.0})
    assert "First" in setup_screen.screen(run, 12, 10.0, {})  # too narrow, and no error


def test_a_log_has_a_pulls_progress_now_and_then_and_all_else_at_once():
    run, log = Run([]), setup_screen.Log()
    told = [(0, "a", "progress"), (5, "a", "progress"), (6, "b", "progress"), (7, "a", "note"), (25, "a", "progress")]
    lines = [log.line(Event(at, what, None, None, host, "a text"), run) for at, host, what in told]
    assert [line is not None for line in lines] == [True, False, True, True, True]


def test_a_line_that_the_pull_shows_is_taken_as_how_far_it_is(monkeypatch):
    found = progress.event(3 * 2**30, 9 * 2**30, None)
    assert progress.display_line("gpu.lan", found) == "gpu.lan: 3.00 of 9.00 GiB (33 %)"
    monkeypatch.setenv(progress.IN_PLAY_AS_JSON, "1")
    told = {
        "event": "verbose",
        "created": "2026-11-27T00:00:00+00:00",
        "stdout": progress.display_line("gpu.lan", found),
    }
    event = setup_run.event(told)
    assert (event.what, event.host, event.text) == ("progress", "gpu.lan", "3.00 of 9.00 GiB (33 %)")
    assert setup_run.event(told | {"stdout": "Using module file /x/y.py"}) is None


def test_it_goes_on_in_the_tools_own_python():
    done = subprocess.run(
        ["/usr/bin/python3", ROOT / "scripts/setup_vllm.py", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "--setup-docker" in done.stdout
