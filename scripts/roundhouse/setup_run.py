"""Run site.yml through ansible-runner: its stages beforehand, its events as they come, an end when it is asked for.

ansible-runner is one of the controller's tools, so it is imported where it is used.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .errors import RoundhouseError
from .setup_events import Event, event

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = "site.yml"
_PLAY = re.compile(r"^  play #\d+ \([^)]*\): (.+?)\s+TAGS: \[")

_TASK = "      "
# What Ansible itself puts before a role, whatever the tags.
_ARGUMENTS = "Validating arguments against arg spec"


class Wanted(NamedTuple):
    """What to run: the tags (none: all), the inventory, further words for ansible-playbook, and a sudo's password."""

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
    done = subprocess.run(words, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RoundhouseError("setup", done.stderr.strip() or "ansible-playbook does not read site.yml.")
    found: list[str] = []
    name = ""
    for row in done.stdout.splitlines():
        if match := _PLAY.match(row):
            name = match[1]
        elif row.startswith(_TASK) and _ARGUMENTS not in row and name not in found:
            found.append(name)
    return found


def run(wanted: Wanted, feed: Callable[[Event], None]) -> str:
    """Run it and return how it ended: successful, failed, or canceled when Ctrl-C asked for that."""
    asked = threading.Event()
    before = [(number, signal.signal(number, lambda *_: asked.set())) for number in (signal.SIGINT, signal.SIGTERM)]

    def take(told: dict[str, Any]) -> bool:
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
    return os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "PATH": path}
