"""The command as one reproducible archive: the same sources give the same bytes and the same name."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import tarfile
import tempfile
from pathlib import Path


def make(scripts: Path | None = None) -> dict[str, str]:
    """Write the archive into the user's cache unless it is there; return its path and its folder's name."""
    root = scripts or Path(__file__).resolve().parents[1]
    # switch.py last: it is what the role looks for, so an unpacking that was killed is done again.
    files = [*sorted((root / "roundhouse").glob("*.py")), *_pynvml(), root / "switch.py"]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    name = f"roundhouse-{digest.hexdigest()[:12]}"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roundhouse"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.tar"
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as aside:
            aside.write(_archive(files, root, name))
        Path(aside.name).rename(path)
    return {"path": str(path), "name": name}


def _pynvml() -> list[Path]:
    """Return nvidia-ml-py's one file, nothing where the controller has none (see nvml.py)."""
    found = importlib.util.find_spec("pynvml")
    path = Path(found.origin) if found and found.origin else None
    # An older package of the same name is a folder, and is not what the lock has.
    return [path] if path and path.name == "pynvml.py" else []


def _archive(files: list[Path], root: Path, name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in (name, f"{name}/roundhouse"):
            archive.addfile(_info(folder, tarfile.DIRTYPE, 0o755))
        for file in files:
            content = file.read_bytes()
            mode = 0o755 if file.name == "switch.py" else 0o644
            place = file.relative_to(root) if file.is_relative_to(root) else file.name
            info = _info(f"{name}/{place}", tarfile.REGTYPE, mode)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _info(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    # A fixed time, so that the bytes depend on the content alone; tar mistrusts the year 1970.
    info.type, info.mode, info.mtime = kind, mode, 1577836800
    return info
