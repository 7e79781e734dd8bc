"""Read messages from a terminal, of one line or several, and keep the lines in a history file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

QUOTES = '"""'
CONTINUED = "... "
_MOST_LINES = 1000

ReadLine = Callable[[str], str]


def state_file() -> Path:
    """Return the history file, in XDG's folder for state."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "roundhouse/chat_history"


def read_message(prompt: str, read_line: ReadLine) -> str:
    r"""Return one message: a line, lines that end in a backslash and the next one, or lines between triple quotes.

    Raises what `read_line` raises: EOFError and KeyboardInterrupt.
    """
    line = read_line(prompt)
    if line.lstrip().startswith(QUOTES):
        return _quoted(line.lstrip().removeprefix(QUOTES), read_line)
    found = []
    while line.endswith("\\"):
        found.append(line.removesuffix("\\"))
        line = read_line(CONTINUED)
    return "\n".join([*found, line])


def _quoted(line: str, read_line: ReadLine) -> str:
    found = []
    while not line.rstrip().endswith(QUOTES):
        found.append(line)
        line = read_line(CONTINUED)
    return "\n".join([*found, line.rstrip().removesuffix(QUOTES)]).strip("\n")


class History:
    """The lines of earlier conversations, for the arrow keys. The file has mode 0600 and no line with a key."""

    def __init__(self, path: Path, secrets: tuple[str, ...]) -> None:
        self._path: Path | None = path
        self._secrets = secrets
        self._readline = _readline()

    def load(self) -> None:
        """Read the file, and create it. Without a writable folder, the history lasts as long as the process."""
        if self._readline is None or self._path is None:
            return
        self._readline.set_auto_history(False)
        self._readline.set_history_length(_MOST_LINES)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600))
            self._path.chmod(0o600)
            self._readline.read_history_file(self._path)
        except OSError:
            self._path = None

    def read_line(self, prompt: str) -> str:
        """Return a line from the terminal, and keep it."""
        line = input(prompt)
        if self._readline and line.strip() and not any(secret in line for secret in self._secrets):
            self._readline.add_history(line)
            if self._path:
                with contextlib.suppress(OSError):  # on a full disk the line stays in the memory of this process
                    self._readline.append_history_file(1, self._path)
        # An API accepts UTF-8 alone.
        return line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _readline() -> ModuleType | None:
    """Return Python's readline module, None for a Python without it: then the arrow keys do nothing."""
    try:
        import readline
    except ImportError:
        return None
    return readline
