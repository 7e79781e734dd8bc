"""Read Ollama's models from the disk: manifests that name blobs. Its daemon is not used, and nothing is changed."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError
from ..util import json_file

# The default parts of a model's name, which are omitted.
_USUAL_HOST = ("registry.ollama.ai", "library")
# The units, by precedence: the first overrides the others.
_UNITS = (
    "etc/systemd/system/ollama.service.d",
    "etc/systemd/system/ollama.service",
    "lib/systemd/system/ollama.service",
)
# The folders of the installer, of Arch Linux, of the snap, and of the volume in the documentation of Ollama's image.
_PLACES = (
    "usr/share/ollama/.ollama/models",
    "var/lib/ollama/models",
    "var/lib/ollama",
    "var/snap/ollama/common/models",
    "var/lib/docker/volumes/ollama/_data/models",
)
_LARGEST_TEXT = 1 << 20


class StoredModel(NamedTuple):
    """One model. `parts` are its layers' texts by kind, such as params, system, template and adapter."""

    name: str  # as in `ollama list`, such as qwen2.5-coder:32b
    family: str  # qwen2.5-coder
    tag: str
    config: dict[str, str]  # its texts, such as model_family
    families: tuple[str, ...]
    parts: dict[str, str]
    weights: Path | None
    digests: tuple[str, ...]


def settings(root: Path = Path("/")) -> dict[str, str]:
    """Return the environment variables of Ollama's unit."""
    found: dict[str, str] = {}
    for unit in reversed(_UNITS):
        path = root / unit
        for file in sorted(path.glob("*.conf")) if path.is_dir() else [path] if path.is_file() else []:
            for row in re.findall(r"^\s*Environment=(.*)", file.read_text(errors="replace"), re.MULTILINE):
                found |= dict(re.findall(r'"?(OLLAMA_\w+)=([^"\s]*)"?', row))
    return found


def place(asked: Path | None = None, root: Path = Path("/"), home: Path | None = None) -> Path:
    """Return the folder of Ollama's models: `asked`, else OLLAMA_MODELS, the unit's, or a usual folder.

    Raises RoundhouseError if it has no manifests.
    """
    named = asked or os.environ.get("OLLAMA_MODELS") or settings(root).get("OLLAMA_MODELS")
    homes = [home or Path.home(), *([root / "home" / os.environ["SUDO_USER"]] if "SUDO_USER" in os.environ else [])]
    usual = [*(root / each for each in _PLACES), *(each / ".ollama/models" for each in homes)]
    folders = [_expanded(named)] if named else usual
    found = next((each for each in folders if _is_store(each)), None)
    if found is None:
        text = "Ollama's models were not found in {folders} (a folder with manifests)."
        remedy = "Name it with --store FOLDER."
        raise RoundhouseError("ollama_models_not_found", text, remedy, folders=", ".join(map(str, folders)))
    return found


def _expanded(named: Path | str) -> Path:
    try:
        return Path(named).expanduser()
    except (RuntimeError, ValueError):  # ~NAME of an unknown user, or with a NUL
        return Path(named)


def _is_store(folder: Path) -> bool:
    try:
        return (folder / "manifests").is_dir()
    except OSError:  # a name that is too long, or a folder that this user may not read
        return False


def models(store: Path) -> tuple[list[StoredModel], list[str]]:
    """Return the models, and a sentence for each manifest that cannot be read."""
    found, problems = [], []
    try:
        files = sorted(path for path in (store / "manifests").rglob("*") if path.is_file())
    except OSError as error:
        fields = {"store": str(store), "why": error.strerror}
        text = "{store} cannot be read ({why})."
        raise RoundhouseError("ollama_store_unreadable", text, "Run the command as root.", **fields) from None
    for file in files:
        try:
            found.append(_model(store, file))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"The manifest {file} cannot be read ({error!r}).")
    return found, problems


def _model(store: Path, file: Path) -> StoredModel:
    *host, family, tag = file.relative_to(store / "manifests").parts
    manifest = json_file.read_foreign(file, _LARGEST_TEXT)
    layers = [(str(layer["mediaType"]).rpartition(".")[2], str(layer["digest"])) for layer in manifest["layers"]]
    weights = next((digest for kind, digest in layers if kind == "model"), None)
    parts = {kind: _blob(store, digest) for kind, digest in layers if kind not in ("model", "license")}
    config = json_file.read_foreign(_blob(store, str(manifest["config"]["digest"])), _LARGEST_TEXT)
    stated = config if isinstance(config, dict) else {}
    return StoredModel(
        name="/".join([*(part for part in host if part not in _USUAL_HOST), f"{family}:{tag}"]),
        family=family,
        tag=tag,
        config={name: value for name, value in stated.items() if isinstance(value, str)},
        families=tuple(map(str, listed)) if isinstance(listed := stated.get("model_families"), list) else (),
        parts={kind: _text(path) for kind, path in parts.items()},
        weights=_blob(store, weights) if weights else None,
        digests=tuple(digest for kind, digest in layers if kind != "license"),
    )


def _blob(store: Path, digest: str) -> Path:
    if not re.fullmatch(r"sha256[:-][0-9a-f]+", digest):
        raise ValueError(f"{digest!r} is not a digest")
    return store / "blobs" / digest.replace(":", "-")


def _text(path: Path) -> str:
    """Return a blob's text; empty if it is above 1 MiB, such as an adapter or a projector."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} is not a file")
    return "" if found.st_size > _LARGEST_TEXT else path.read_text(errors="replace")
