"""Bring an export of another host onto this machine, and verify each byte before a model gets its name."""

from __future__ import annotations

import secrets
import shutil
import tarfile
import threading
from pathlib import Path

from ..errors import RoundhouseError
from ..models import manifest, store, verify
from ..schema.facts import PulledModel
from ..util import progress
from . import remote

# On the disk of the default store, where the host has one.
_MAKE = 'd=/var/lib/roundhouse; [ -d "$d" ] || d=/var/tmp; mktemp -d "$d/export-XXXXXXXX"'
_LIST = 'cd "$1" && for f in */*/*; do [ ! -d "$f" ] || echo "$f"; done'


def bring(target: str, words: list[str], folder: Path, *, as_json: bool) -> list[PulledModel]:
    """Export on the host into a temporary folder, copy that into `folder`; return a row for each model.

    `words` are the arguments of `export` without the folder. Raises RoundhouseError.
    """
    there = remote.shell(target, _MAKE, "make")
    arriving = folder / f".arriving-{secrets.token_hex(6)}"
    try:
        remote.ask(target, ["export", there, *(word for word in words if word != "--json"), "--json"])
        names = remote.shell(target, _LIST, "list", there).splitlines()
        missing = [name for name in names if not (folder / name).is_dir()]
        with store.writing(folder):
            store.make_folder(arriving)
            if missing:
                _copy(target, there, missing, arriving)
        with progress.on_stream(as_json=as_json) as shown:
            return [_row(folder, name, changed=name in missing, arriving=arriving, shown=shown) for name in names]
    finally:
        shutil.rmtree(arriving, ignore_errors=True)  # the models are out of it, or not verified
        remote.shell(target, 'rm -rf -- "$1"', "remove", there)


def _copy(target: str, there: str, names: list[str], arriving: Path) -> None:
    words = ["tar", "--create", "--directory", there, "--file=-", "--", *names]
    with remote.output_of(target, words) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        archive.extractall(arriving, filter="data")


def _row(folder: Path, name: str, *, changed: bool, arriving: Path, shown: progress.Progress) -> PulledModel:
    """Verify an arrived model and give it its name; verify one that was there too. Raises RoundhouseError."""
    model, revision = str(Path(name).parent), Path(name).name
    place = arriving / name if changed else folder / name
    held = manifest.read(place)
    if held:
        shown.expect(sum(file.size for file in held.files))
    problems = verify.problems(place, shown)
    held = manifest.read(place)
    if problems or held is None:
        raise RoundhouseError("model_damaged", "{problems}", problems="\n".join(problems))
    if changed:
        with store.locked(folder, model, shown.note, threading.Event()):
            store.publish(place, folder / name, held)
    fetched = [file.path for file in held.files] if changed else []
    return {"model": model, "revision": revision, "path": str(folder / name), "changed": changed, "fetched": fetched}
