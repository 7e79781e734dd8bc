"""Run site.yml through ansible-runner: list its stages, turn its events into a state, and write a log.

ansible-runner is one of the controller's tools, so it is imported where it is used.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ..errors import RoundhouseError
from ..paths import CHECKOUT
from ..util import process, progress

ROOT = CHECKOUT
PLAYBOOK = "site.yml"
WAITING, RUNS, DONE, FAILED = "waiting", "runs", "done", "failed"
_WHAT = {
    "playbook_on_play_start": "play",
    "playbook_on_task_start": "task",
    "runner_on_ok": "ok",
    "runner_on_skipped": "skipped",
    "runner_on_failed": FAILED,
    "runner_on_unreachable": FAILED,
}
# Of --list-tasks: a play, and what Ansible itself puts before a role, whatever the tags.
_PLAY = re.compile(r"^  play #\d+ \([^)]*\): (.+?)\s+TAGS: \[")
_ARGUMENTS = "Validating arguments against arg spec"


class Event(NamedTuple):
    """An event of a run: `what` is play, task, ok, changed, skipped, failed, progress or note; `at` is seconds (epoch).

    `seconds_left` is that of a download, None where it is unknown.
    """

    at: float
    what: str
    play: str | None
    task: str | None
    host: str | None
    text: str | None
    role: str | None = None
    seconds_left: float | None = None


def event(row: dict[str, Any]) -> Event | None:
    """Return an event of ansible-runner as an Event, None for one that is not shown."""
    data, result = row.get("event_data", {}), row.get("event_data", {}).get("res") or {}
    at, what = datetime.fromisoformat(row["created"]).timestamp(), _WHAT.get(row["event"])
    if row["event"] == "verbose" and (displayed := progress.from_display_line(row.get("stdout", ""))):
        host, found = displayed
        what, left = "progress" if found["event"] == "progress" else "note", found.get("seconds_left")
        return Event(at, what, None, None, host, found["text"], seconds_left=left)
    if what is None:
        return None
    if what == FAILED and data.get("ignore_errors"):
        what = "ok"
    elif what == "ok" and result.get("changed"):
        what = "changed"
    text = sentence(result) if what == FAILED else None
    return Event(at, what, data.get("play"), data.get("task"), data.get("host"), text, data.get("role"))


def sentence(result: dict[str, Any]) -> str:
    """Return the message of a failed task: of a loop that of the first failed item, of a command its last line."""
    for item in result.get("results") or []:
        if item.get("failed"):
            return sentence(item)
    message = str(result.get("msg") or "").strip()
    if message not in ("", "non-zero return code"):
        return message
    lines = f"{result.get('stdout', '')}\n{result.get('stderr', '')}".split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), message or "it failed without a message")


@dataclass
class Step:
    """Consecutive tasks of one role within a stage; times in seconds (epoch)."""

    name: str
    begun: float
    ended: float | None = None


@dataclass
class Stage:
    """A play: its state, its counts of tasks, its steps, and its times in seconds (epoch)."""

    name: str
    state: str = WAITING
    tasks: int = 0
    changed: int = 0
    begun: float | None = None
    ended: float | None = None
    steps: list[Step] = field(default_factory=list)

    def enter(self, name: str, at: float) -> None:
        """Begin a step, unless the last one is of the same role."""
        if self.steps and self.steps[-1].name == name:
            return
        self.leave(at)
        self.steps.append(Step(name, at))

    def leave(self, at: float) -> None:
        """End the last step."""
        if self.steps and self.steps[-1].ended is None:
            self.steps[-1].ended = at

    def seconds(self, now: float) -> float | None:
        """Return its duration so far, in seconds; None before it began."""
        return None if self.begun is None else (self.ended or now) - self.begun


class Run:
    """The state of a run."""

    def __init__(self, names: list[str]) -> None:
        self.stages = [Stage(name) for name in names]
        self.now: Stage | None = None
        self.task: str | None = None
        self.task_begun: float | None = None
        self.notes: dict[str, str] = {}  # by host: what a long task reports
        self.lefts: dict[str, float | None] = {}  # by host: seconds left of its download
        self.failed: dict[str, str] = {}
        self.hosts: dict[str, None] = {}

    @property
    def note(self) -> str | None:
        """Return the reports of the current task, a line for each host; None where there is none."""
        return "\n".join(f"{host}: {text}" for host, text in self.notes.items()) or None

    def download_seconds_left(self) -> float | None:
        """Return the seconds left of the slowest download; None where there is none or one is unknown."""
        known = [left for left in self.lefts.values() if left is not None]
        return max(known) if known and len(known) == len(self.lefts) else None

    def feed(self, each: Event) -> None:
        """Update the state by one event."""
        if each.what == "play":
            self._end(each.at)
            # Ansible checks the arguments of a play of other tags too; such a play is not a stage of this run.
            listed = (stage for stage in self.stages if stage.name == each.play and stage.state == WAITING)
            self.now = next(listed, Stage(each.play or ""))
            self.now.state, self.now.begun = RUNS, each.at
            self._begin(None, each.at)
        elif each.what == "task":
            self._begin(each.task, each.at)
            if self.now and each.role:
                self.now.enter(each.role, each.at)
        elif each.what in ("progress", "note"):
            self.notes[each.host or ""] = each.text or ""
            if each.what == "progress":
                self.lefts[each.host or ""] = each.seconds_left
            else:
                self.lefts.pop(each.host or "", None)
        elif self.now and each.what != "skipped":
            self.now.tasks += 1
            self.hosts.setdefault(each.host or "", None)
            self.now.changed += each.what == "changed"
            if each.what == FAILED:
                self.failed[each.host or ""] = each.text or ""
            else:  # the host runs another task, so its failure was rescued
                self.failed.pop(each.host or "", None)

    def end(self, at: float, *, good: bool) -> None:
        """Close the last stage."""
        if good:
            self.failed = {}
        self._end(at, DONE if good else FAILED)

    def _begin(self, task: str | None, at: float) -> None:
        self.task, self.task_begun, self.notes, self.lefts = task, at, {}, {}

    def _end(self, at: float, state: str = DONE) -> None:
        if self.now:
            self.now.leave(at)
            self.now.ended, self.now.state = at, state


class Wanted(NamedTuple):
    """A run: the tags (none: all), the inventory, more arguments of ansible-playbook, and the password of sudo."""

    tags: tuple[str, ...]
    inventory: str
    words: tuple[str, ...]
    password: str | None = None

    def options(self) -> list[str]:
        """Return the arguments of ansible-playbook behind the playbook."""
        return [*(["--tags", ",".join(self.tags)] if self.tags else []), *self.words]


def stages(wanted: Wanted) -> list[str]:
    """Return the names of the plays that have a task to run. Raises RoundhouseError."""
    program = Path(sys.executable).with_name("ansible-playbook")
    words = [str(program), "--inventory", wanted.inventory, PLAYBOOK, "--list-tasks", *wanted.options()]
    done = process.run(words, cwd=ROOT, env=_environment())
    if done.returncode != 0:
        raise RoundhouseError("playbook_invalid", done.stderr.strip() or "ansible-playbook cannot read site.yml.")
    found: dict[str, None] = {}
    name = ""
    for row in done.stdout.splitlines():
        if match := _PLAY.match(row):
            name = match[1]
        elif row.startswith("      ") and _ARGUMENTS not in row:
            found[name] = None
    return list(found)


def run(wanted: Wanted, feed: Callable[[Event], None], log: TextIO | None = None) -> str:
    """Run it and return its outcome: successful, failed, or canceled after Ctrl-C. `log` gets Ansible's own output."""
    asked = threading.Event()
    before = [(number, signal.signal(number, lambda *_: asked.set())) for number in (signal.SIGINT, signal.SIGTERM)]

    def take(row: dict[str, Any]) -> bool:
        if log and row.get("stdout"):
            print(row["stdout"], file=log, flush=True)
        if (each := event(row)) is not None:
            feed(each)
        return False  # ansible-runner keeps nothing on the disk

    try:
        with tempfile.TemporaryDirectory(prefix="roundhouse-setup-") as folder:
            made = importlib.import_module("ansible_runner").run(
                private_data_dir=folder,
                project_dir=str(ROOT),
                playbook=PLAYBOOK,
                inventory=str(Path(wanted.inventory).absolute()),
                cmdline=shlex.join([*wanted.options(), *(["--ask-become-pass"] if wanted.password else [])]),
                passwords={r"^BECOME password.*:\s*?$": wanted.password} if wanted.password else None,
                envvars=_environment(),
                event_handler=take,
                cancel_callback=asked.is_set,
                quiet=True,
            )
            return str(made.status)
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        progress.IN_PLAY_AS_JSON: "1",
        "PATH": path,
    }
