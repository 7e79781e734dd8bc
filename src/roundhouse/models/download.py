"""How often and how long something that passes by itself is tried again.

One file from a source to the disk: on from where a killed run left it, hashed while it comes.

The bytes go to NAME.part; only a file whose length and checksum are the hub's own gets its name. A
.part that a killed process left is hashed again from the disk, which no state beside it could
replace: that hash would be of what was meant to be written.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

from ..errors import RoundhouseError
from .hub import Again
from .manifest import Digest, File

Result = TypeVar("Result")
_RANDOM = random.SystemRandom()


class Patience(NamedTuple):
    """The waits double from `first_seconds` up to `longest_seconds`; progress sets the count back to 0."""

    tries: int = 8
    first_seconds: float = 1.0
    longest_seconds: float = 60.0

    def wait_seconds(self, tried: int, error: Again) -> float:
        """Return how long to wait after the try of that number, from 1: what the hub asks for, if it does."""
        if error.wait_seconds is not None:
            return min(error.wait_seconds, 600.0)
        doubled: float = self.first_seconds * 2 ** (tried - 1)
        # Spread, so that hosts that were refused together do not come back together.
        return min(doubled, self.longest_seconds) * _RANDOM.uniform(0.5, 1.0)

    def call(self, what: str, work: Callable[[], Result], say: Callable[[str], None], stop: threading.Event) -> Result:
        """Return the work's result, after as many tries as it takes. Raises RoundhouseError after the last."""
        tried = 0
        while True:
            try:
                return work()
            except Again as error:
                tried += 1
                self.pause(what, tried, error, say, stop)

    def pause(self, what: str, tried: int, error: Again, say: Callable[[str], None], stop: threading.Event) -> None:
        """Say what happened and wait before the next try. Raises RoundhouseError when there is none left."""
        if tried >= self.tries:
            raise RoundhouseError(
                "pull", f"{what}: {error.reason}, {tried} times in a row. What came is kept: run it again."
            )
        seconds = self.wait_seconds(tried, error)
        say(f"{what}: {error.reason}; again in {seconds:.0f} s ({tried} of {self.tries})")
        if stop.wait(seconds):
            raise RoundhouseError("interrupted", "interrupted.")


PART = ".part"


class Source(Protocol):
    """Where models come from: the hub or a mirror of it, or a folder that `export` wrote."""

    name: str

    def resolve(self, model: str, asked: str) -> str:
        """Return the 40-hex revision that a branch means."""

    def files(self, model: str, revision: str) -> list[File]:
        """Return the files of a revision."""

    def check_rights(self, model: str, revision: str, missing: list[File]) -> None:
        """Raise RoundhouseError when the files may not, or cannot, be fetched; asks for no bytes."""

    def open(
        self, model: str, revision: str, file: File, start: int
    ) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """Open a file at a byte; give where it really begins, and its pieces."""


class Means(NamedTuple):
    """What all files of a pull share. `came` is told of each piece's bytes (negative when they are thrown away)."""

    source: Source
    came: Callable[[int], None]
    say: Callable[[str], None]
    stop: threading.Event
    patience: Patience


class Fetch:
    """One file on its way."""

    def __init__(self, means: Means, model: str, revision: str, file: File) -> None:
        self.means, self.model, self.revision, self.file = means, model, revision, file
        self.what = f"{model} {file.path}"
        self.digest = Digest(file)

    def into(self, folder: Path) -> str:
        """Bring the file into the folder and return its sha256. Raises RoundhouseError."""
        part = folder / (self.file.path + PART)
        with part.open("a+b", buffering=0) as out:
            self._take_up(out, part)
            if not self._fetched(out):
                self.means.say(
                    f"{self.what} has not the checksum that {self.means.source.name} states: once more from 0"
                )
                self._restart(out)
                if not self._fetched(out):
                    self._restart(out)
                    raise RoundhouseError(
                        "pull",
                        f"{self.what}: {self.means.source.name} sent wrong bytes twice (the checksum is not "
                        f"{self.file.checksum}): name another source, such as a mirror in HF_ENDPOINT.",
                    )
            os.fsync(out.fileno())
            if os.fstat(out.fileno()).st_size != self.file.size:
                raise RoundhouseError("pull", f"{part} was written by something else meanwhile: run it again.")
        part.rename(folder / self.file.path)
        return self.digest.sha256()

    def _take_up(self, out: BinaryIO, part: Path) -> None:
        """Hash what an earlier run left."""
        if os.fstat(out.fileno()).st_size > self.file.size:
            out.truncate(0)
        self.digest.read(part)

    def _fetched(self, out: BinaryIO) -> bool:
        """Fetch until the length is there; return whether the checksum is."""
        tried = 0
        while self.digest.size < self.file.size:
            before = self.digest.size
            try:
                self._stream(out)
                if self.digest.size < self.file.size:
                    raise Again(f"the body ended after {self.digest.size} of {self.file.size} bytes")
            except Again as error:
                tried = 1 if self.digest.size > before else tried + 1
                self.means.patience.pause(self.what, tried, error, self.means.say, self.means.stop)
        return self.digest.fits()

    def _stream(self, out: BinaryIO) -> None:
        start = self.digest.size
        with self.means.source.open(self.model, self.revision, self.file, start) as (begins, pieces):
            if begins != start:
                self._restart(out)
            for piece in pieces:
                if self.means.stop.is_set():
                    raise RoundhouseError("interrupted", "interrupted.")
                # A body longer than it should be is not the file, whatever comes behind its length.
                if self.digest.size + len(piece) > self.file.size:
                    self._restart(out)
                    raise Again(f"the body is longer than the {self.file.size} bytes of the file")
                _write(out, piece)
                self.digest.update(piece)
                self.means.came(len(piece))

    def _restart(self, out: BinaryIO) -> None:
        self.means.came(-self.digest.size)
        out.truncate(0)
        self.digest.reset()


def _write(out: BinaryIO, piece: bytes) -> None:
    """Write all of a piece: an unbuffered file may take less at a time."""
    rest = memoryview(piece)
    while rest:
        rest = rest[out.write(rest) :]
