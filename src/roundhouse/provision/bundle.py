"""Build the command as a reproducible archive: equal sources give equal bytes and an equal name."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import tarfile
from pathlib import Path

from ..paths import PACKAGE
from ..util import files

_ENTRY = "switch.py"
# The program on the host. Python finds the package beside the file, also through a link.
_ENTRY_TEXT = """\
#!/usr/bin/env python3
from roundhouse.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
"""


def make(package: Path = PACKAGE) -> dict[str, str]:
    """Write the archive into the user's cache unless it exists; return its path and the name of its folder."""
    found = sorted([*package.rglob("*.py"), *package.rglob("*.json")])
    sources = {f"{package.name}/{path.relative_to(package)}": path for path in found}
    sources |= {path.name: path for path in _pynvml()}
    # switch.py is last because the role looks for it, so that a killed unpacking is repeated.
    packed = {place: path.read_bytes() for place, path in sources.items()} | {_ENTRY: _ENTRY_TEXT.encode()}
    digest = hashlib.sha256()
    for place, content in packed.items():
        digest.update(f"{place}\0".encode() + content + b"\0")
    name = f"roundhouse-{digest.hexdigest()[:12]}"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roundhouse"
    path = folder / f"{name}.tar"
    if not path.exists():
        files.write(path, _archive(packed, name))
    return {"path": str(path), "name": name}


def _pynvml() -> list[Path]:
    """Return nvidia-ml-py's only file, [] if the controller does not have it (see host/gpu.py)."""
    found = importlib.util.find_spec("pynvml")
    path = Path(found.origin) if found and found.origin else None
    # An older package of the same name is a folder and is not the locked version.
    return [path] if path and path.name == "pynvml.py" else []


def _archive(packed: dict[str, bytes], name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folders = {parent for place in packed for parent in Path(name, place).parents if parent.parts}
        for folder in sorted(folders):
            archive.addfile(_info(str(folder), tarfile.DIRTYPE, 0o755))
        for place, content in packed.items():
            mode = 0o755 if place == _ENTRY else 0o644
            info = _info(f"{name}/{place}", tarfile.REGTYPE, mode)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _info(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    # A fixed time, so that the bytes depend only on the content. tar warns about times in 1970.
    info.type, info.mode, info.mtime = kind, mode, 1577836800
    return info
