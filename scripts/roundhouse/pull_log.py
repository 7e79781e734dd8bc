"""How the last pull of a model failed, kept beside it in the store until one goes well.

Ansible keeps nothing of a module that failed, and a pull by hand writes to its terminal alone.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .errors import RoundhouseError
from .pull_job import Wish
from .store import LOCK

NAME = ".pull.json"
_ERROR_CHARACTERS = 1000


class Failed(NamedTuple):
    """A pull that brought nothing whole: `error` is its sentence, None when it was ended before it had one."""

    model: str
    began: float  # seconds since the epoch
    error: str | None


@contextmanager
def kept(place: Path, wishes: Iterable[Wish]) -> Iterator[None]:
    """Note that these models are pulled, and how that failed; hold their locks."""
    models = sorted({wish.model for wish in wishes})
    began = time.time()
    for model in models:
        _note(place, model, began, None)
    try:
        yield
    except RoundhouseError as error:
        if error.stage != "interrupted":
            for model, own in _own(models, error.message).items():
                if own is None:
                    (place / model / NAME).unlink(missing_ok=True)
                else:
                    _note(place, model, began, own)
        raise
    for model in models:
        (place / model / NAME).unlink(missing_ok=True)


def failed(place: Path) -> list[Failed]:
    """Return the pulls that failed and were not made good since, by name."""
    found = []
    for path in sorted(place.glob(f"*/*/{NAME}")):
        try:
            told = json.loads(path.read_text())
            one = Failed(str(path.parent.relative_to(place)), float(told["began"]), told["error"])
        except (OSError, ValueError, KeyError, TypeError):  # another version's, or of one that ends just now
            continue
        if one.error is not None or not _runs(path.parent):
            found.append(one)
    return found


def _own(models: list[str], message: str) -> dict[str, str | None]:
    """Return each model's own sentence, None for one that came whole; where none is named, it is everybody's."""
    found = {model: next((line for line in message.splitlines() if model in line), None) for model in models}
    return found if any(found.values()) else dict.fromkeys(models, message)


def _note(place: Path, model: str, began: float, error: str | None) -> None:
    content = {"schema": 1, "began": began, "error": error and error[:_ERROR_CHARACTERS]}
    try:
        (place / model / NAME).write_text(json.dumps(content))
    except OSError:  # a full disk: the pull itself says so, and a look at the disks does
        return


def _runs(folder: Path) -> bool:
    """Return whether a process holds the repository's lock."""
    try:
        with (folder / LOCK).open() as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # none was made, or the disk has no locks: then none is held
        return False
    return False
