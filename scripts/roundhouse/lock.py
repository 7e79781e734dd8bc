"""The engine's environment is named after its lock: another lock is another folder, side by side."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from .errors import UsageError

ENGINES = Path("/opt/roundhouse/engine")


def lock_file(accelerator: str, checkout: Path | None = None) -> Path:
    """Return the lock of the engine for "cuda" or "cpu"; `checkout` is the repository's root."""
    return (checkout or Path(__file__).resolve().parents[2]) / "requirements" / f"engine-{accelerator}.txt"


def engine_path(accelerator: str, python: str, checkout: Path | None = None) -> str:
    """Return the folder of the environment, such as /opt/roundhouse/engine/0.32.0-cpu-1f0c2a9b."""
    path = lock_file(accelerator, checkout)
    if not path.is_file():
        raise UsageError("engine", f"engine_accelerator is {accelerator!r}: write cuda or cpu.")
    text = path.read_text()
    version = re.search(r"^vllm(?:-cpu)?==(\S+)", text, re.MULTILINE)
    if version is None:
        raise UsageError("engine", f"{path} locks no vllm: make it again with make lock.")
    key = hashlib.sha256(f"{python}\n{text}".encode()).hexdigest()[:8]
    return f"{ENGINES}/{version[1]}-{accelerator}-{key}"
