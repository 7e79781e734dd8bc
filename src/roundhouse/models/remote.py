"""Read from a hub what a plan needs of a model before its weights: config.json and the headers of its shards.

A request for a header takes the first 256 KiB of a shard, and another one only for a longer header. The shards are
asked in parallel, so a model takes four round trips.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..catalog import hf_config
from ..catalog.architecture import Unknown
from ..errors import RoundhouseError
from ..util import json_file
from . import headers, manifest
from .hub import Hub, unexpected_response
from .manifest import File
from .retry import Retry, TransientError

FIRST_BYTES = 256 * 1024
_SHARDS_AT_ONCE = 16
_LONGEST_JSON_BYTES = 64 << 20
_INDEX = "model.safetensors.index.json"
_MODELS_AT_ONCE = 8
_RETRY = Retry(tries=3, first_seconds=0.2, longest_seconds=2.0)
Result = TypeVar("Result")


def read(hub: Hub, model: str, asked: str) -> dict[str, Any]:
    """Return an entry of models.known: revision, date, config.json, and the sums of the tensors.

    Raises RoundhouseError; also for a repository without safetensors files.
    """
    revision = _again(model, lambda: hub.resolve(model, asked))
    listed = {file.path: file for file in _again(model, lambda: hub.files(model, revision))}
    if "config.json" not in listed:
        text = "{model} has no config.json on {hub}."
        raise RoundhouseError(
            "hub_model_without_config", text, "Name a repository for vLLM.", model=model, hub=hub.name
        )
    reader = _Reader(hub, model, revision)
    config = reader.json(listed["config.json"])
    shards = _shards(reader, listed)
    if not shards:
        text = "{model} has no safetensors files on {hub}."
        raise RoundhouseError(
            "hub_model_without_weights", text, "Name a repository with safetensors.", model=model, hub=hub.name
        )
    with ThreadPoolExecutor(_SHARDS_AT_ONCE) as pool:
        found = [tensor for part in pool.map(reader.tensors, shards) for tensor in part]
    sums = headers.held(found, config)
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return {"revision": revision, "date": day, "config": config, "held": sums._asdict(), "files_bytes": _size(shards)}


def uncovered(entry: dict[str, Any], name: str) -> str | None:
    """Return why the formulas do not cover a model, None if they do."""
    found = hf_config.parse(entry["config"], name)
    return found.reason if isinstance(found, Unknown) else None


def _size(shards: Iterable[File]) -> int:
    return sum(file.size for file in shards)


def _shards(reader: _Reader, listed: dict[str, File]) -> list[File]:
    """Return the files that the engine loads: those of the index, or all but a second copy in another layout."""
    if _INDEX in listed:
        stated = reader.json(listed[_INDEX]).get("weight_map")
        names = {str(name) for name in stated.values()} if isinstance(stated, dict) else set()
        if not names or not all(manifest.is_name(name) and name in listed for name in names):
            raise unexpected_response(reader.hub.name, reader.model)
        return [listed[name] for name in sorted(names)]
    names = {path for path in listed if path.endswith(".safetensors") and "/" not in path}
    others = {name for name in names if name.startswith("consolidated")}
    return [listed[name] for name in sorted(names - others or names)]


class _Reader:
    """Read parts of the files of one revision."""

    def __init__(self, hub: Hub, model: str, revision: str) -> None:
        self.hub, self.model, self.revision = hub, model, revision

    def json(self, file: File) -> dict[str, Any]:
        """Return the object in a small file."""
        if file.size > _LONGEST_JSON_BYTES:
            raise unexpected_response(self.hub.name, self.model)
        try:
            found = json_file.parse(self._first(file, file.size))
        except ValueError:
            raise unexpected_response(self.hub.name, self.model) from None
        if not isinstance(found, dict):
            raise unexpected_response(self.hub.name, self.model)
        return found

    def tensors(self, file: File) -> list[headers.Tensor]:
        """Return the tensors of a shard by its header."""
        try:
            start = self._first(file, min(FIRST_BYTES, file.size))
            whole = headers.LENGTH_BYTES + headers.length(start)
            if whole > len(start):
                start = self._first(file, min(whole, file.size))
            return list(headers.tensors(start[headers.LENGTH_BYTES : whole]))
        except ValueError as error:
            text = "{path} of {model} is damaged on {hub}: {reason}."
            fields = {"path": file.path, "model": self.model, "hub": self.hub.name, "reason": str(error)}
            raise RoundhouseError("hub_header_invalid", text, "Name another repository.", **fields) from None

    def _first(self, file: File, size: int) -> bytes:
        return _again(f"{self.model} {file.path}", lambda: self._asked(file, size))

    def _asked(self, file: File, size: int) -> bytes:
        held = bytearray()
        with self.hub.open(self.model, self.revision, file, 0, size) as (_, pieces):
            for piece in pieces:
                held += piece
                if len(held) >= size:  # a hub that ignores ranges sends the whole file
                    break
        if len(held) < size:
            raise TransientError(f"{self.hub.name} sent {len(held)} of {size} bytes")
        return bytes(held[:size])


def _again(what: str, ask: Callable[[], Result]) -> Result:
    """Return an answer of the hub. Raises RoundhouseError, also after three temporary failures."""
    return _RETRY.call(what, ask, lambda _line: None, threading.Event())


def read_all(hub: Hub, wanted: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the model, the revision asked for, and the entry of each, all read in parallel. Raises RoundhouseError."""
    with ThreadPoolExecutor(_MODELS_AT_ONCE) as pool:
        yield from pool.map(lambda each: (*each, read(hub, *each)), list(wanted))
