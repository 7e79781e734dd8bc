#!/usr/bin/env python3
"""Take the screens of commands in a terminal of 80x24: `tests/unit/screens.py` writes tests/fixtures/screens.

Each command runs in tmux, on the stand-in host of screen_host.py.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from roundhouse.paths import CHECKOUT, IMPORT_ROOT

FOLDER = CHECKOUT / "tests/fixtures/screens"
COLUMNS, LINES = 80, 24
SECONDS = 60
# Name of the screen: the running requests on the active agent, and the command.
SCREENS = {
    "status": (2, ["status"]),
    "plan": (0, ["plan"]),
    "plans": (0, ["plans"]),
    "history": (0, ["history"]),
    "doctor": (0, ["doctor"]),
    "switch": (0, ["dev"]),
    "switch-failed": (0, ["po"]),
    "switch-cut": (2, ["dev", "--drain", "1"]),
    "stop": (0, ["stop"]),
    "watch": (2, ["watch", "--rounds", "1"]),
    "gpu": (0, ["gpu"]),
    "models": (0, ["models"]),
    "verify": (0, ["verify"]),
    "keys": (0, ["keys"]),
    "bench": (0, ["bench"]),
    "chat": (0, ["chat", "architect"]),
    "check": (0, ["check"]),
    "help": (0, ["--help"]),
    "help-import": (0, ["import", "--help"]),
}
# Name of the screen: the lines that are typed at the prompt. Ctrl-D ends.
TYPED = {"chat": ["What is a KV cache?", "Show how to look at it."]}
PROMPT = "architect>"
POLL_SECONDS = 0.05
# The name of the temporary folder in the files.
FOLDER_SHOWN = "/tmp/host"  # noqa: S108 - a text


def take(name: str) -> tuple[str, str]:
    """Return the screen that a command leaves, with its scrollback; and the same with wrapped lines joined by tmux."""
    running, words = SCREENS[name]
    socket = f"roundhouse-{uuid.uuid4().hex[:8]}"
    tmux = ["tmux", "-L", socket, "-f", "/dev/null"]
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, str(Path(__file__).with_name("screen_host.py")), folder, str(running), *words]
        done = shlex.join([*tmux, "wait-for", "-S", "done"])
        # It stays until the pane was captured.
        shell = f"{shlex.join(program)}; {done}; {shlex.join([*tmux, 'wait-for', 'captured'])}"
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "TMUX")}
        environment["PYTHONPATH"] = f"{Path(__file__).parent}:{IMPORT_ROOT}"
        size = ["-x", str(COLUMNS), "-y", str(LINES)]
        _run([*tmux, "new-session", "-d", *size, "sh", "-c", shell], env=environment)
        try:
            _type(tmux, TYPED.get(name, []), environment)
            _run([*tmux, "wait-for", "done"], env=environment)
            pane, joined = (
                _run([*tmux, "capture-pane", "-p", "-S", "-", *option], env=environment) for option in ([], ["-J"])
            )
        finally:
            subprocess.run([*tmux, "kill-server"], check=False, capture_output=True, env=environment)
    return _trimmed(pane.replace(folder, FOLDER_SHOWN)), _trimmed(joined.replace(folder, FOLDER_SHOWN))


def _type(tmux: list[str], lines: list[str], environment: dict[str, str]) -> None:
    """Type each line at its prompt, then Ctrl-D."""
    for number, line in enumerate([*lines, None] if lines else []):
        end = time.monotonic() + SECONDS
        while _prompts(_run([*tmux, "capture-pane", "-p"], env=environment)) <= number:
            assert time.monotonic() < end, f"{line!r} has no prompt"
            time.sleep(POLL_SECONDS)
        keys = ["C-d"] if line is None else ["-l", line]
        _run([*tmux, "send-keys", *keys], env=environment)
        if line is not None:
            _run([*tmux, "send-keys", "Enter"], env=environment)


def _prompts(pane: str) -> int:
    """Return the number of prompts, 0 unless the last line is an empty one."""
    lines = pane.rstrip().splitlines()
    return sum(line.startswith(PROMPT) for line in lines) if lines and lines[-1].rstrip() == PROMPT else 0


def _trimmed(pane: str) -> str:
    return "\n".join(line.rstrip() for line in pane.splitlines()).rstrip("\n") + "\n"


def _run(command: list[str], *, env: dict[str, str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS, env=env).stdout


if __name__ == "__main__":
    for screen in SCREENS:
        (FOLDER / f"{screen}.txt").write_text(take(screen)[0])
