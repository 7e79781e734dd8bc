"""Download one file from a source to the disk: resume after a killed run, and hash the bytes while they arrive.

The bytes go to NAME.part, which is renamed if its length and checksum match the source. A .part file of a killed
process is read and hashed again, because a saved hash might cover bytes that never reached the disk.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from ..errors import RoundhouseError, interrupted
from .manifest import Digest, File
from .retry import RangeRefusedError, Retry, TransientError

PART = ".part"


class Source(Protocol):
    """A source of models: the hub or a mirror, another host, or a folder that `export` wrote."""

    name: str

    def resolve(self, model: str, asked: str) -> str:
        """Return the 40-hex revision of a branch."""

    def files(self, model: str, revision: str) -> list[File]:
        """Return the files of a revision."""

    def check_rights(self, model: str, revision: str, missing: list[File]) -> None:
        """Raise RoundhouseError if the files cannot be fetched; transfers no content."""

    def open(
        self, model: str, revision: str, file: File, start: int
    ) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """Open a file at a byte offset; yield the actual offset and the pieces."""


class Transfer(NamedTuple):
    """The shared objects of a pull's downloads. `came` gets the bytes of each piece, negative if they are discarded."""

    source: Source
    came: Callable[[int], None]
    say: Callable[[str], None]
    stop: threading.Event
    retry: Retry


class Download:
    """The download of one file."""

    def __init__(self, transfer: Transfer, model: str, revision: str, file: File) -> None:
        self.transfer, self.model, self.revision, self.file = transfer, model, revision, file
        self.what = f"{model} {file.path}"
        self.digest = Digest(file)

    def into(self, folder: Path) -> str:
        """Download the file into the folder and return its sha256. Raises RoundhouseError."""
        part = folder / (self.file.path + PART)
        source = self.transfer.source.name
        with part.open("a+b", buffering=0) as out:
            self._resume(out, part)
            if not self._fetch(out):
                self.transfer.say(f"{self.what}: checksum mismatch with {source}; downloading it again")
                self._restart(out)
                if not self._fetch(out):
                    self._restart(out)
                    raise RoundhouseError(
                        "checksum_mismatch",
                        "{source} sent {model} {path} twice with a checksum other than {checksum}.",
                        "Name another source, such as a mirror in HF_ENDPOINT.",
                        source=source,
                        model=self.model,
                        path=self.file.path,
                        checksum=self.file.checksum,
                    )
            os.fsync(out.fileno())
            if os.fstat(out.fileno()).st_size != self.file.size:
                raise RoundhouseError(
                    "partial_file_changed", "Another process changed {path}.", "Pull again.", path=str(part)
                )
        part.rename(folder / self.file.path)
        return self.digest.sha256()

    def _resume(self, out: BinaryIO, part: Path) -> None:
        """Hash the bytes that an earlier run downloaded."""
        if os.fstat(out.fileno()).st_size > self.file.size:
            out.truncate(0)
        self.digest.read(part)

    def _fetch(self, out: BinaryIO) -> bool:
        """Fetch until the length is reached; return true if the checksum matches."""
        tried = 0
        while self.digest.size < self.file.size:
            before = self.digest.size
            try:
                self._stream(out)
                if self.digest.size < self.file.size:
                    raise TransientError(f"the body ended after {self.digest.size} of {self.file.size} bytes")
            except TransientError as error:
                if isinstance(error, RangeRefusedError):
                    self._restart(out)
                tried = 1 if self.digest.size > before else tried + 1
                error.code = "download_failed"
                self.transfer.retry.pause(self.what, tried, error, self.transfer.say, self.transfer.stop)
        return self.digest.matches()

    def _stream(self, out: BinaryIO) -> None:
        start = self.digest.size
        with self.transfer.source.open(self.model, self.revision, self.file, start) as (begins, pieces):
            if begins != start:
                self._restart(out)
            for piece in pieces:
                if self.transfer.stop.is_set():
                    raise interrupted()
                # A body that is too long is not the file, even if its first bytes match.
                if self.digest.size + len(piece) > self.file.size:
                    self._restart(out)
                    raise TransientError(f"the body is longer than the {self.file.size} bytes of the file")
                _write(out, piece)
                self.digest.update(piece)
                self.transfer.came(len(piece))

    def _restart(self, out: BinaryIO) -> None:
        self.transfer.came(-self.digest.size)
        out.truncate(0)
        self.digest.reset()


def _write(out: BinaryIO, piece: bytes) -> None:
    """Write a whole piece: an unbuffered write may be partial."""
    remaining = memoryview(piece)
    while remaining:
        remaining = remaining[out.write(remaining) :]
