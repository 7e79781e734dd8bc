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

from roundhouse.cli import setup, setup_log, setup_run, setup_screen
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
          ansible.builtin.fail: {msg: this is rescued}
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
# A task that fails on the host of that name -> the sentence that reports its failure.
FAILURES = {
    "sentence": ("fail: {msg: 'agents[dev].port is 80: write another.'}", "agents[dev].port is 80: write another."),
    "loop": ("fail: {msg: 'item {{ item }} is bad'}\n      loop: [1]", "item 1 is bad"),
    "command": ("command: sh -c 'echo first; echo the last word >&2; exit 3'", "the last word"),
}


class Ended(NamedTuple):
    """The end of a run of the command."""

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
    assert first.err[0].startswith("Interrupted. Completed work is kept")
    assert (again.status, again.err) == (0, [])


def test_a_run_in_a_pipe_is_a_log_with_its_stages(interrupted_and_again):
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in interrupted_and_again[1].out]
    assert lines[:3] == ["== First", "   changed Change a thing (here)", "   FAILED Fail and be rescued (here)"]
    assert lines[3] == "== Second"
    assert re.fullmatch(r"\+ First   3 tasks, 1 changed, \d+ s", lines[4])
    assert re.fullmatch(r"\+ Second  1 task, 0 changed, \d+ s", lines[5])


def test_an_argument_for_ansible_stays_one_argument(interrupted_and_again):
    assert interrupted_and_again[1].status == 0  # its task compares it


def test_the_failing_tasks_own_sentence_is_last(site):
    tasks = [
        f"\n    - name: Fail on {host}\n      ansible.builtin.{task}\n      when: inventory_hostname == '{host}'\n"
        for host, (task, _) in FAILURES.items()
    ]
    ended = run(site(SECOND, *tasks, hosts=FAILURES))
    assert ended.status == 1
    assert ended.err[:-1] == [f"{host}: {sentence}" for host, (_, sentence) in FAILURES.items()]
    assert ended.err[-1] == setup_log.AFTER_FAILURE
    assert "x Second" in ended.out[-2]
    log = Path(ended.out[-1].removeprefix("log: "))
    assert log.stat().st_mode & 0o777 == 0o600
    assert "TASK [Fail on loop]" in log.read_text()


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
    # The path of the log and of the inventory may be longer, and stay whole.
    assert [line for line in lines if len(line) > 80 and not line.startswith(("log: ", "next: ", "      "))] == []
    assert any(line.startswith("> Second") for line in lines)
    # What stays below the screen, which is removed: a line for each stage, the log, the next commands.
    *_, second, log, first, after = [re.sub(r"\s+", " ", line) for line in lines if line]
    assert second.startswith("+ Second 1 task, 0 changed,")
    assert log.startswith("log: /")
    assert (first.split()[0], "client-config" in after) == ("next:", True)


def all_of(leader, look):
    """Return what is written to a terminal until its other end is closed, which Linux reports as an error.

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
def test_each_tag_of_the_guide_selects_a_stage(tags):
    wanted = setup_run.Wanted(tags, str(ROOT / "inventory/lab"), ())
    assert len(setup_run.stages(wanted)) == 1 + len(tags)


def test_no_other_tag_is_a_part():
    assert sorted(tag for part in setup.TAGS.values() for tag in part) == sorted(
        ("driver", "engine", "models", "containers", "agents", "gateway")
    )


def test_an_inventory_that_is_not_there_is_refused(capfd):
    assert setup.main(["--inventory", "no/such"]) == 2
    assert "--inventory 'no/such'" in capfd.readouterr().err


def test_an_argument_before_the_dashes_is_refused(capfd):
    assert setup.main(["foo", "--", "--check"]) == 2
    assert capfd.readouterr().err == (
        "scripts/setup_vllm.py does not take the argument 'foo'. Put options of ansible-playbook behind `--`.\n"
    )


def test_a_missing_checkout_is_reported(capfd, tmp_path, monkeypatch):
    monkeypatch.setattr(setup_run, "ROOT", tmp_path)
    assert setup.main(["--inventory", str(tmp_path)]) == 2
    assert f"{tmp_path} is not a checkout of Roundhouse" in capfd.readouterr().err


def test_an_error_outside_of_a_task_is_shown_whole(site):
    place = site.folder / "group_vars"
    place.mkdir()
    (place / "all.yml").write_text("a: 1\nb: [\n")
    try:
        ended = run(site(FIRST, SECOND, WELL))
    finally:
        (place / "all.yml").unlink()
        place.rmdir()
    assert ended.status == 1
    assert f"{place}/all.yml:3:1: " in ended.err[0]
    assert ended.err[-1] == setup_log.AFTER_FAILURE


def test_options_of_ansible_are_passed_on_and_check_changes_nothing(site):
    (site.folder / "made").unlink(missing_ok=True)
    said = '{"said": "two words"}'
    ended = run(site(FIRST, SECOND, WELL), "--check", "--limit", "here", "-e", said, "--", "-v")
    assert (ended.status, ended.err) == (0, [])
    assert not (site.folder / "made").exists()
    assert ended.out[-1].startswith("next: scripts/setup_vllm.py --inventory ")
    assert ended.out[-1].endswith(f"-- --limit here --extra-vars '{said}' -v   (apply these changes)")


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        (["--check", "--diff"], ["--check", "--diff"]),
        (["-C", "-D", "-t", "agents", "-t", "gateway"], ["--check", "--diff", "--tags", "agents", "--tags", "gateway"]),
        (["--skip-tags", "driver", "--", "-vvv"], ["--skip-tags", "driver", "-vvv"]),
        (["-e", "a=1", "--extra-vars", "@f.yml"], ["--extra-vars", "a=1", "--extra-vars", "@f.yml"]),
    ],
)
def test_each_option_of_ansible_has_its_place(words, passed):
    assert setup._parsed(words).words == passed


@pytest.mark.parametrize(
    ("inventory", "tags", "words", "line"),
    [
        ("inventory/local", (), (), "next: roundhouse status"),
        ("inventory/lab", (), (), "next: scripts/switch.py status"),
        ("/etc/hosts", (), (), "next: scripts/switch.py --on ssh://root@gpu.lan status"),
        ("inventory/local", ("models",), (), "next: scripts/setup_vllm.py   (complete the setup)"),
        ("inventory/local", ("agents", "gateway"), (), "next: roundhouse status"),
        ("inventory/local", (), ("--check",), "next: scripts/setup_vllm.py   (apply these changes)"),
    ],
)
def test_the_end_names_the_next_command(inventory, tags, words, line):
    wanted = setup_run.Wanted(tags, str(ROOT / inventory), words)
    assert setup_log.next_steps(wanted, ["gpu.lan"]).startswith(line)


def test_only_the_last_logs_are_kept(tmp_path):
    for second in range(15):
        (tmp_path / f"setup-x-20260101-0000{second:02d}-1.log").touch()
    (tmp_path / "setup-x-other-20260101-000000-1.log").touch()
    with setup_log.opened(tmp_path / "setup-x.json") as log:
        assert len([*tmp_path.glob("setup-x-2*.log")]) == 10
        assert Path(log.name).exists()
    assert (tmp_path / "setup-x-other-20260101-000000-1.log").exists()


def events(*rows):
    """Return a run of two stages after these events: at, what, and more fields."""
    run = Run(["First", "Second"])
    for at, what, more in rows:
        run.feed(Event(at, what, **dict.fromkeys(("play", "task", "host", "text")) | more))
    return run


DOWNLOAD = [
    (0.0, "play", {"play": "First"}),
    (0.0, "task", {"task": "Check", "role": "preflight"}),
    (4.0, "task", {"task": "Pull", "role": "models"}),
    (6.0, "progress", {"host": "a", "text": "1.00 of 9.00 GiB (11 %), 20.0 MiB/s", "seconds_left": 300}),
    (7.0, "progress", {"host": "b", "text": "1.00 of 9.00 GiB (11 %), 10.0 MiB/s", "seconds_left": 600}),
]


def test_the_screen_has_the_steps_and_the_downloads_of_all_hosts():
    told = setup_screen.screen(events(*DOWNLOAD), 80, 10.0, {}, 23)
    assert re.search(r"^    preflight +4 s$", told, re.MULTILINE)
    assert re.search(r"^    models +6 s$", told, re.MULTILINE)
    assert "task: Pull (6 s)" in told
    assert "a: 1.00 of 9.00 GiB (11 %), 20.0 MiB/s\nb: 1.00 of 9.00 GiB" in told
    assert told.endswith("about 10 min 00 s left of the download; the time of the later stages is unknown")


@pytest.mark.parametrize(
    ("rows", "before", "line"),
    [
        (DOWNLOAD, {"First": 5.0, "Second": 60.0}, "about 11 min 00 s left, by the download's rate and the last run"),
        (DOWNLOAD[:3], {"First": 40.0, "Second": 60.0}, "about 1 min 30 s left, by the last run"),
        (DOWNLOAD[:3], {}, "time left: unknown (some stages have no recorded time yet)"),
        (
            DOWNLOAD[:3],
            {"First": 5.0, "Second": 6.0},
            "time left: unknown (First takes longer than the 5 s of the last run)",
        ),
        (
            [*DOWNLOAD, (8.0, "progress", {"host": "a", "text": "1.00 of 9.00 GiB", "seconds_left": None})],
            {"First": 40.0, "Second": 60.0},
            "about 1 min 30 s left, by the last run",
        ),
    ],
)
def test_the_time_left_is_a_sum_of_what_is_known(rows, before, line):
    assert setup_screen.screen(events(*rows), 80, 10.0, before).endswith(line)


@pytest.mark.parametrize("height", [6, 10, 23])
def test_the_screen_fits_the_terminal_and_keeps_the_current_stage(height):
    names = [f"Stage {number}" for number in range(12)]
    run = Run(names)
    for number in range(6):
        run.feed(Event(number, "play", names[number], None, None, None))
        for role in range(8):
            run.feed(Event(number, "task", None, "Work", None, None, role=f"role_{role}"))
    lines = setup_screen.screen(run, 80, 99.0, {}, height).splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("> Stage 5") for line in lines) or height < 12
    assert lines[-1].startswith("time left")


def test_the_screen_states_the_time_left_if_the_last_run_did():
    run = Run(["First", "Second"])
    run.feed(Event(0.0, "play", "First", None, None, None))
    run.feed(Event(1.0, "note", None, None, "gpu", "3.1 of 9.3 GiB, 2 min left"))
    told = setup_screen.screen(run, 40, 10.0, {"First": 40.0, "Second": 60.0})
    assert "gpu: 3.1 of 9.3 GiB, 2 min left" in told
    assert told.endswith("about 1 min 30 s left, by the last run")
    assert max(map(len, told.splitlines())) <= 40
    assert "time left: unknown" in setup_screen.screen(run, 40, 10.0, {"First": 40.0})
    assert "First" in setup_screen.screen(run, 12, 10.0, {})  # too narrow, and no error


def test_a_log_has_the_progress_of_a_pull_at_intervals_and_other_lines_at_once():
    run, log = Run([]), setup_screen.Log()
    told = [(0, "a", "progress"), (5, "a", "progress"), (6, "b", "progress"), (7, "a", "note"), (25, "a", "progress")]
    lines = [log.line(Event(at, what, None, None, host, "a text"), run) for at, host, what in told]
    assert [line is not None for line in lines] == [True, False, True, True, True]


def test_a_line_of_the_pull_is_read_as_its_progress(monkeypatch):
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


def test_setup_continues_in_the_tools_own_python():
    done = subprocess.run(
        ["/usr/bin/python3", ROOT / "scripts/setup_vllm.py", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "--setup-docker" in done.stdout


@pytest.mark.parametrize(
    ("ended", "code", "status"),
    [(KeyboardInterrupt, "Interrupted.", 130), (EOFError, "No password was entered.", 2), (OSError, "No password", 2)],
)
def test_a_password_that_is_not_entered_is_one_sentence(monkeypatch, capsys, ended, code, status):
    def ask(prompt):
        raise ended

    monkeypatch.setattr(setup.getpass, "getpass", ask)
    assert setup.main(["--ask-become-pass"]) == status
    told = capsys.readouterr().err
    assert code in told
    assert told.count("\n") == 1


def test_a_word_that_is_not_an_option_is_one_sentence(capsys):
    assert setup.main(["foo"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
