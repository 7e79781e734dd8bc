"""A folder that `export` wrote, or any other store, as the source of a pull: a USB disk, an NFS share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from ..errors import RoundhouseError
from . import manifest, store
from .hub import COMMIT
from .manifest import READ_BYTES, File


class FolderSource:
    """The models of a store on this host's disk. Bytes are compared as if they came from a hub."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.name = str(place)
        if not place.is_dir():
            raise RoundhouseError(
                "pull", f"{place} is not a folder: mount it, or mend models_source (a URL begins with https://)."
            )

    def resolve(self, model: str, asked: str) -> str:
        """Return the revision, for a branch the one that was exported for it last."""
        if COMMIT.fullmatch(asked):
            return asked
        exported = [found for found in store.manifests(self.place, model) if found.asked == asked]
        if not exported:
            raise RoundhouseError(
                "pull", f"{self.place} holds no {model} for {asked!r}: export it there (roundhouse export)."
            )
        return exported[0].revision

    def files(self, model: str, revision: str) -> list[File]:
        """Return the files of a revision."""
        found = manifest.read(store.folder(self.place, model, revision))
        if found is None:
            raise RoundhouseError("pull", f"{self.place} holds no {model} at {revision}: export it there.")
        return found.files

    def check_rights(self, model: str, revision: str, missing: list[File]) -> None:
        """Refuse a model that is not there, or not whole."""
        for file in missing:
            path = store.folder(self.place, model, revision) / file.path
            if not path.is_file() or path.stat().st_size != file.size:
                raise RoundhouseError(
                    "pull", f"{path} is missing or has not its {file.size} bytes: export {model} there again."
                )

    @contextmanager
    def open(self, model: str, revision: str, file: File, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Open a file at a byte."""
        path = store.folder(self.place, model, revision) / file.path
        with _read(path):
            content = path.open("rb", buffering=0)
        with content:
            content.seek(start)
            yield start, _pieces(content, path)


def _pieces(content: FileIO, path: Path) -> Iterator[bytes]:
    while True:
        with _read(path):
            piece = content.read(READ_BYTES)
        if not piece:
            return
        yield piece


@contextmanager
def _read(path: Path) -> Iterator[None]:
    """Turn what the system says of the source's disk into a sentence, which else would blame the store's."""
    try:
        yield
    except OSError as error:
        raise RoundhouseError(
            "pull", f"{path}, where models come from, cannot be read: {error.strerror}. See to that disk."
        ) from None
