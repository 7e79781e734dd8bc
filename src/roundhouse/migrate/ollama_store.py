"""What the head of a GGUF file says of its model. Only the head is read, and nothing of it is trusted to be short.

Ollama's models as they lie on the disk: manifests that name blobs. Its daemon is not asked, nothing is changed.
"""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..errors import RoundhouseError

_MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
# The formats of the other types by their numbers.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_LONGEST = 1 << 20
_MOST_KEYS = 256
_END = "tokenizer."  # what comes from here on is megabytes of words


class _Unreadable(ValueError):
    """The file is not what its first bytes say."""


def head(path: Path) -> dict[str, Any]:
    """Return the texts and numbers before the tokenizer's; nothing where the file is no GGUF of version 2 or 3."""
    try:
        with path.open("rb") as file:
            return _head(file)
    except OSError:
        return {}


def _head(file: BinaryIO) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        if file.read(4) != _MAGIC or _number(file, "I") not in (2, 3):
            return {}
        _number(file, "Q")
        count = min(int(_number(file, "Q")), _MOST_KEYS)
        for _ in range(count):
            key, kind = _text(file), int(_number(file, "I"))
            if key.startswith(_END):
                break
            value = _value(file, kind)
            if value is not None:
                found[key] = value
    except _Unreadable:
        pass  # what was read until here is said all the same
    return found


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        of, length = int(_number(file, "I")), int(_number(file, "Q"))
        for _ in range(min(length, _LONGEST)):
            _value(file, of)
        return None
    if kind not in _NUMBERS:
        raise _Unreadable
    return _number(file, _NUMBERS[kind])


def _text(file: BinaryIO) -> str:
    length = int(_number(file, "Q"))
    if length > _LONGEST:
        raise _Unreadable
    return _exactly(file, length).decode(errors="replace")


def _number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(f"<{form}", _exactly(file, struct.calcsize(f"<{form}")))[0]


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise _Unreadable
    return data


# The library and its registry go without saying in a name.
_REGISTRY, _LIBRARY = "registry.ollama.ai", "library"
_UNIT = (
    "etc/systemd/system/ollama.service",
    "etc/systemd/system/ollama.service.d",
    "lib/systemd/system/ollama.service",
)
# The installer's user, Arch's and the snap's; a container's volume as Docker's documents name it.
_PLACES = (
    "usr/share/ollama/.ollama/models",
    "var/lib/ollama/models",
    "var/lib/ollama",
    "var/snap/ollama/common/models",
    "var/lib/docker/volumes/ollama/_data/models",
)
_TEXTS = 1 << 20


class Held(NamedTuple):
    """One model. `parts` are its layers' texts by their kind: params, system, template, adapter and so on."""

    name: str  # as `ollama list` has it, such as qwen2.5-coder:32b
    family: str  # qwen2.5-coder
    tag: str
    config: dict[str, Any]
    parts: dict[str, str]
    model: Path | None  # the weights' blob
    digests: tuple[str, ...]


def settings(root: Path = Path("/")) -> dict[str, str]:
    """Return the variables that Ollama's unit is started with."""
    found: dict[str, str] = {}
    for place in reversed(_UNIT):
        path = root / place
        for file in sorted(path.glob("*.conf")) if path.is_dir() else [path] if path.is_file() else []:
            for line in file.read_text(errors="replace").splitlines():
                if line.strip().startswith("Environment="):
                    told = line.partition("=")[2]
                    found |= dict(re.findall(r'"?(OLLAMA_\w+)=([^"\s]*)"?', told))
    return found


def place(asked: Path | None = None, root: Path = Path("/"), home: Path | None = None) -> Path:
    """Return the folder of Ollama's models: the one asked for, OLLAMA_MODELS, the unit's, or a usual place."""
    named = asked or os.environ.get("OLLAMA_MODELS") or settings(root).get("OLLAMA_MODELS")
    if named:
        folder = Path(named).expanduser()
        if not (folder / "manifests").is_dir():
            raise RoundhouseError("ollama", f"{folder} holds no manifests of Ollama: name its models with --store.")
        return folder
    homes = [home or Path.home(), *([root / "home" / os.environ["SUDO_USER"]] if "SUDO_USER" in os.environ else [])]
    usual = [*(root / each for each in _PLACES), *(each / ".ollama/models" for each in homes)]
    found = next((each for each in usual if (each / "manifests").is_dir()), None)
    if found is None:
        told = ", ".join(map(str, usual))
        raise RoundhouseError("ollama", f"Ollama's models are in none of {told}: name them with --store FOLDER.")
    return found


def models(store: Path) -> tuple[list[Held], list[str]]:
    """Return the models, and a sentence for each manifest that cannot be read."""
    found, strange = [], []
    try:
        files = sorted(path for path in (store / "manifests").rglob("*") if path.is_file())
    except OSError as error:
        raise RoundhouseError("ollama", f"{store} cannot be read ({error.strerror}): run this as root.") from None
    for file in files:
        try:
            found.append(_held(store, file))
        except (OSError, ValueError, KeyError, TypeError) as error:
            strange.append(f"{file} is no manifest that can be read ({error!r}).")
    return found, strange


def _held(store: Path, file: Path) -> Held:
    *host, family, tag = file.relative_to(store / "manifests").parts
    manifest = json.loads(file.read_text())
    layers = [(str(layer["mediaType"]).rpartition(".")[2], str(layer["digest"])) for layer in manifest["layers"]]
    weights = next((digest for kind, digest in layers if kind == "model"), None)
    told = {kind: _blob(store, digest) for kind, digest in layers if kind not in ("model", "license")}
    config = json.loads(_blob(store, manifest["config"]["digest"]).read_text())
    shown = "/".join(part for part in host if part not in (_REGISTRY, _LIBRARY))
    return Held(
        name=f"{shown}/{family}:{tag}" if shown else f"{family}:{tag}",
        family=family,
        tag=tag,
        config=config if isinstance(config, dict) else {},
        parts={kind: _store_text(path) for kind, path in told.items()},
        model=_blob(store, weights) if weights else None,
        digests=tuple(digest for kind, digest in layers if kind != "license"),
    )


def _blob(store: Path, digest: str) -> Path:
    if not re.fullmatch(r"sha256[:-][0-9a-f]+", digest):
        raise ValueError(f"{digest!r} is no digest")
    return store / "blobs" / digest.replace(":", "-")


def _store_text(path: Path) -> str:
    """Return a small blob's text; of a large one, an adapter or a projector, that it is there."""
    return "" if path.stat().st_size > _TEXTS else path.read_text(errors="replace")
