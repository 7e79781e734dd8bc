"""Pull from a folder that `export` wrote, or from any other store, such as a USB disk or an NFS share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from ..errors import RoundhouseError
from . import manifest, store
from .manifest import COMMIT, READ_BYTES, File


class FolderSource:
    """Provide the models of a store on a local disk. Their checksums are compared as with a hub."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.name = str(place)
        if not place.is_dir():
            raise RoundhouseError(
                "source_not_found",
                "{source} is not a folder.",
                "Mount it, or correct models_source (a URL begins with https://).",
                source=str(place),
            )

    def resolve(self, model: str, asked: str) -> str:
        """Return the revision; for a branch, the last exported one. Raises RoundhouseError."""
        if COMMIT.fullmatch(asked):
            return asked
        exported = [found for found in store.manifests(self.place, model) if found.asked == asked]
        if not exported:
            raise self._missing(model, asked)
        return exported[0].revision

    def files(self, model: str, revision: str) -> list[File]:
        """Return the files of a revision."""
        found = manifest.read(store.folder(self.place, model, revision))
        if found is None:
            raise self._missing(model, revision)
        return found.files

    def check_rights(self, model: str, revision: str, missing: list[File]) -> None:
        """Raise RoundhouseError if a file of the model is missing or has the wrong length."""
        for file in missing:
            path = self._path(model, revision, file)
            if not path.is_file() or path.stat().st_size != file.size:
                raise RoundhouseError(
                    "source_incomplete",
                    "{path} is missing or its length is not {size} bytes.",
                    "Export {model} there again.",
                    path=str(path),
                    size=file.size,
                    model=model,
                )

    @contextmanager
    def open(self, model: str, revision: str, file: File, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Open a file at a byte offset; yield the offset and the pieces."""
        path = self._path(model, revision, file)
        with _reading(path):
            content = path.open("rb", buffering=0)
        with content:
            content.seek(start)
            yield start, _pieces(content, path)

    def _path(self, model: str, revision: str, file: File) -> Path:
        """Return a file's path. Raises RoundhouseError if a link leads out of the folder, to a file of this host."""
        path = store.folder(self.place, model, revision) / file.path
        if not path.resolve().is_relative_to(self.place.resolve()):
            text, remedy = "{path} is a link to a path outside of {source}.", "Export {model} there again."
            fields = {"path": str(path), "source": self.name, "model": model}
            raise RoundhouseError("source_link_outside", text, remedy, **fields)
        return path

    def _missing(self, model: str, revision: str) -> RoundhouseError:
        return RoundhouseError(
            "model_not_in_source",
            "{source} has no {model} at {revision}.",
            "Export it there (roundhouse export).",
            source=self.name,
            model=model,
            revision=revision,
        )


def _pieces(content: FileIO, path: Path) -> Iterator[bytes]:
    while True:
        with _reading(path):
            piece = content.read(READ_BYTES)
        if not piece:
            return
        yield piece


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Convert an error of the source's disk into a RoundhouseError that names it, not the store's disk."""
    try:
        yield
    except OSError as error:
        raise RoundhouseError(
            "source_unreadable",
            "{path} of the source cannot be read: {reason}.",
            "Check the source's disk.",
            path=str(path),
            reason=error.strerror,
        ) from None
