"""A model's manifest: which bytes lie in its folder, by whom stated, when they were last compared.

It lies in the model's folder, so both get their final name in the same rename. A file whose length
and time of change are those that the manifest noted when it was hashed is not read again; `verify`
reads all of them.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .errors import RoundhouseError
from .model_files import Digest, File, as_json, from_json

NAME = ".roundhouse.json"
SCHEMA = 1
# Of a model that has none that can be read.
CURE = "pull the model again, which hashes what is there, or remove its folder"


class Manifest:
    """What a folder holds. `sha256` and `stamps` are known of the files that were hashed here."""

    def __init__(self, model: str, revision: str, files: list[File], *, asked: str, source: str) -> None:
        self.model, self.revision, self.files = model, revision, files
        self.asked, self.source = asked, source
        self.sha256: dict[str, str] = {}
        self.stamps: dict[str, int] = {}  # st_mtime_ns when the file was hashed
        self.verified_at: str | None = None
        self.unreadable: dict[str, str] = {}  # what the system said of a file that could not be read

    def note(self, folder: Path, file: File, sha256: str) -> None:
        """Note that the file in the folder has been hashed and is the right one."""
        self.sha256[file.path] = sha256
        self.stamps[file.path] = (folder / file.path).stat().st_mtime_ns

    def is_known_good(self, folder: Path, file: File) -> bool:
        """Return whether the file was hashed here and has not been touched since. Reads no content."""
        try:
            found = (folder / file.path).stat()
        except FileNotFoundError:
            return False
        return found.st_size == file.size and found.st_mtime_ns == self.stamps.get(file.path)

    def is_good(self, folder: Path, file: File, *, read: bool = False) -> bool:
        """Return whether the file is the right one; its content is read where the stamp does not tell, or to `read`."""
        if not read and self.is_known_good(folder, file):
            return True
        path = folder / file.path
        if not path.is_file() or path.stat().st_size != file.size:
            self.stamps.pop(file.path, None)
            return False
        digest = Digest(file)
        try:
            digest.read(path)
        except OSError as error:
            self.unreadable[file.path] = error.strerror or str(error)
        if digest.fits() and file.path not in self.unreadable:
            self.note(folder, file, digest.sha256())
        else:
            self.stamps.pop(file.path, None)
            return False
        return True

    def strangers(self, folder: Path) -> list[str]:
        """Return what lies in the folder and is not the model's; an engine would load a stray .safetensors."""
        known = {NAME, *(file.path for file in self.files)}
        return sorted(path.name for path in folder.iterdir() if path.name not in known)

    def write(self, folder: Path) -> None:
        """Write it into the folder: aside, then renamed."""
        text = json.dumps(
            {
                "schema": SCHEMA,
                "model": self.model,
                "revision": self.revision,
                "asked": self.asked,
                "source": self.source,
                "verified_at": self.verified_at,
                "files": as_json(self.files),
                "sha256": self.sha256,
                "stamps": self.stamps,
            },
            indent=1,
        )
        write_aside(folder / NAME, text)


def write_aside(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or as it was before, also after a power cut."""
    aside = path.with_name(path.name + ".new")
    with aside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o644)
    aside.rename(path)


def read(folder: Path) -> Manifest | None:
    """Return the folder's manifest, None where there is none. Raises RoundhouseError for a damaged one."""
    path = folder / NAME
    try:
        held: dict[str, Any] = json.loads(path.read_text())
        if held["schema"] != SCHEMA:
            raise ValueError(f"schema {held['schema']}")
        found = Manifest(
            held["model"], held["revision"], from_json(held["files"]), asked=held["asked"], source=held["source"]
        )
        found.sha256, found.stamps, found.verified_at = held["sha256"], held["stamps"], held["verified_at"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RoundhouseError("store", f"{path} cannot be read ({error}): delete that file, and {CURE}.") from None
    return found


def look(folder: Path) -> Manifest | str | None:
    """Return what `read` does, and its sentence for a damaged one."""
    try:
        return read(folder)
    except RoundhouseError as error:
        return error.message


def now() -> str:
    """Return the time as a text, in UTC to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
