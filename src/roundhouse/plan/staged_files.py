"""Put files in place that were written beside their places before, which needs no disk space."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

from ..host import systemd
from ..util import files


class File(NamedTuple):
    """One file's content and mode."""

    text: str
    mode: int


NO_FILE = File("", 0)


class Staged(NamedTuple):
    """The files of a set beside their places, each with its place, and the extra files to remove."""

    files: list[tuple[Path, Path]]
    extra: list[str]

    def put(self) -> None:
        """Put the files in place and reload systemd. Raises OSError."""
        for aside, path in self.files:
            files.place(aside, path)
        systemd.reload()

    def remove_extra(self) -> None:
        """Remove the extra files and reload systemd. Raises OSError."""
        for extra in self.extra:
            files.remove(Path(extra))
        if self.extra:
            systemd.reload()

    def discard(self) -> None:
        """Remove the files that were not put in place."""
        for aside, _ in self.files:
            with contextlib.suppress(OSError):  # on a disk that became read-only; the next writer removes it
                aside.unlink(missing_ok=True)
