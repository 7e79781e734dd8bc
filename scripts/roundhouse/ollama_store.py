"""Ollama's models as they lie on the disk: manifests that name blobs. Its daemon is not asked, nothing is changed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from .errors import RoundhouseError

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
        parts={kind: _text(path) for kind, path in told.items()},
        model=_blob(store, weights) if weights else None,
        digests=tuple(digest for kind, digest in layers if kind != "license"),
    )


def _blob(store: Path, digest: str) -> Path:
    if not re.fullmatch(r"sha256[:-][0-9a-f]+", digest):
        raise ValueError(f"{digest!r} is no digest")
    return store / "blobs" / digest.replace(":", "-")


def _text(path: Path) -> str:
    """Return a small blob's text; of a large one, an adapter or a projector, that it is there."""
    return "" if path.stat().st_size > _TEXTS else path.read_text(errors="replace")
