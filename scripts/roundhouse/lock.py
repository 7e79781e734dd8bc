"""The engine's environment is named after its lock: another lock is another folder, side by side."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from .errors import UsageError

ENGINES = Path("/opt/roundhouse/engine")
QUANTIZERS = Path("/opt/roundhouse/quantize")
HUB_CLIENTS = Path("/opt/roundhouse/hub")


def lock_file(accelerator: str, checkout: Path | None = None, what: str = "engine") -> Path:
    """Return the lock for "cuda" or "cpu" of the engine, or of "quantize"; `checkout` is the repository's root."""
    return (checkout or Path(__file__).resolve().parents[2]) / "requirements" / f"{what}-{accelerator}.txt"


def engine_path(accelerator: str, python: str, checkout: Path | None = None) -> str:
    """Return the folder of the environment, such as /opt/roundhouse/engine/0.32.0-cpu-1f0c2a9b."""
    return _path(ENGINES, r"vllm(?:-cpu)?", lock_file(accelerator, checkout), accelerator, python)


def quantize_path(accelerator: str, python: str, checkout: Path | None = None) -> str:
    """Return the folder of the environment of quantizing: its pins and the engine's exclude each other."""
    return _path(QUANTIZERS, "llmcompressor", lock_file(accelerator, checkout, "quantize"), accelerator, python)


def hub_path(python: str, checkout: Path | None = None) -> str:
    """Return the folder of the environment of the hub's client: a host whose engine is in an image has no other."""
    path = (checkout or Path(__file__).resolve().parents[2]) / "requirements/hub.txt"
    return f"{HUB_CLIENTS}/{_version('huggingface-hub', path)}-{_key(path, python)}"


def engine_version(accelerator: str, checkout: Path | None = None) -> str:
    """Return the engine's release that is locked, such as 0.32.0."""
    return _version(r"vllm(?:-cpu)?", lock_file(accelerator, checkout))


def _path(root: Path, package: str, path: Path, accelerator: str, python: str) -> str:
    version = _version(package, path)
    return f"{root}/{version}-{accelerator}-{_key(path, python)}"


def _key(path: Path, python: str) -> str:
    return hashlib.sha256(f"{python}\n{path.read_text()}".encode()).hexdigest()[:8]


def _version(package: str, path: Path) -> str:
    if not path.is_file():
        accelerator = path.stem.partition("-")[2]
        raise UsageError("engine", f"engine_accelerator is {accelerator!r}: write cuda or cpu.")
    version = re.search(rf"^{package}==(\S+)", path.read_text(), re.MULTILINE)
    if version is None:
        raise UsageError("engine", f"{path} locks no {package}: make it again with make lock.")
    return version[1]
