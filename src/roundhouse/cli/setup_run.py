"""A run of site.yml through ansible-runner: its stages beforehand, its events, and where it stands after each.

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
from dataclasses import dataclass
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
    """One step: `what` is play, task, ok, changed, skipped, failed, progress or note; `at` in seconds of the clock."""

    at: float
    what: str
    play: str | None
    task: str | None
    host: str | None
    text: str | None


def event(told: dict[str, Any]) -> Event | None:
    """Return an event of ansible-runner's as ours, None for one that is not shown."""
    data, result = told.get("event_data", {}), told.get("event_data", {}).get("res") or {}
    at, what = datetime.fromisoformat(told["created"]).timestamp(), _WHAT.get(told["event"])
    if told["event"] == "verbose" and (displayed := progress.from_display_line(told.get("stdout", ""))):
        host, found = displayed
        return Event(at, "progress" if found["event"] == "progress" else "note", None, None, host, found["text"])
    if what is None:
        return None
    if what == FAILED and data.get("ignore_errors"):
        what = "ok"
    elif what == "ok" and result.get("changed"):
        what = "changed"
    text = sentence(result) if what == FAILED else None
    return Event(at, what, data.get("play"), data.get("task"), data.get("host"), text)


def sentence(result: dict[str, Any]) -> str:
    """Return a failed task's message: of a loop a failed item's, of a command its last line."""
    for item in result.get("results") or []:
        if item.get("failed"):
            return sentence(item)
    message = str(result.get("msg") or "").strip()
    if message not in ("", "non-zero return code"):
        return message
    lines = f"{result.get('stdout', '')}\n{result.get('stderr', '')}".split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), message or "it failed without a message")


@dataclass
class Stage:
    """A play: where it is, what its tasks came to, and its seconds."""

    name: str
    state: str = WAITING
    tasks: int = 0
    changed: int = 0
    begun: float | None = None
    ended: float | None = None

    def seconds(self, now: float) -> float | None:
        """Return how long it took, or has taken until now; None before it began."""
        return None if self.begun is None else (self.ended or now) - self.begun


class Run:
    """Where a run stands."""

    def __init__(self, names: list[str]) -> None:
        self.stages = [Stage(name) for name in names]
        self.now: Stage | None = None
        self.task: str | None = None
        self.note: str | None = None
        self.failed: dict[str, str] = {}

    def feed(self, each: Event) -> None:
        """Take one step."""
        if each.what == "play":
            self._end(each.at)
            # A play of other tags has its arguments checked, and is no stage of this run.
            listed = (stage for stage in self.stages if stage.name == each.play and stage.state == WAITING)
            self.now = next(listed, Stage(each.play or ""))
            self.now.state, self.now.begun = RUNS, each.at
            self.task = self.note = None
        elif each.what == "task":
            self.task, self.note = each.task, None
        elif each.what in ("progress", "note"):
            self.note = f"{each.host}: {each.text}"
        elif self.now and each.what != "skipped":
            self.now.tasks += 1
            self.now.changed += each.what == "changed"
            if each.what == FAILED:
                self.failed[each.host or ""] = each.text or ""
            else:  # a host that goes on had its failure rescued
                self.failed.pop(each.host or "", None)

    def end(self, at: float, *, good: bool) -> None:
        """Close the last stage."""
        if good:
            self.failed = {}
        self._end(at, DONE if good else FAILED)

    def _end(self, at: float, state: str = DONE) -> None:
        if self.now:
            self.now.ended, self.now.state = at, state


class Wanted(NamedTuple):
    """What to run: the tags (none: all), the inventory, further words for ansible-playbook, and sudo's password."""

    tags: tuple[str, ...]
    inventory: str
    words: tuple[str, ...]
    password: str | None = None

    def options(self) -> list[str]:
        """Return the words after the playbook."""
        return [*(["--tags", ",".join(self.tags)] if self.tags else []), *self.words]


def stages(wanted: Wanted) -> list[str]:
    """Return the names of the plays that have a task to run. Raises RoundhouseError."""
    program = Path(sys.executable).with_name("ansible-playbook")
    words = [str(program), "--inventory", wanted.inventory, PLAYBOOK, "--list-tasks", *wanted.options()]
    done = process.run(words, cwd=ROOT, env=_environment())
    if done.returncode != 0:
        raise RoundhouseError("playbook_invalid", done.stderr.strip() or "ansible-playbook does not read site.yml.")
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

    def take(told: dict[str, Any]) -> bool:
        if log and told.get("stdout"):
            print(told["stdout"], file=log, flush=True)
        if (each := event(told)) is not None:
            feed(each)
        return False  # nothing is kept on the disk

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
