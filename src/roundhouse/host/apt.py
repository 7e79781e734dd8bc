"""Fingerprints of OpenPGP public keys: a host need not have gpg to compare a key with a pin.

A repository of apt with its key: fetched, compared with a pin, written, and read at once or not at all.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError
from ..util import files as util_files

_ARMOUR = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*?\n(?:[^\n]*:[^\n]*\n)*\s*\n?(.*?)\n=", re.DOTALL)
_PUBLIC_KEY = 6  # RFC 4880, section 4.3; a subkey is 14 and is signed by its key


def fingerprints(key: bytes) -> list[str]:
    """Return the fingerprints of the primary keys in an armoured key file. Raises ValueError for another file."""
    found = []
    for block in _ARMOUR.findall(key):
        content = base64.b64decode(block)
        position = 0
        while position < len(content):
            tag, body, position = _packet(content, position)
            if tag == _PUBLIC_KEY:
                if not body or body[0] != 4:
                    raise ValueError(f"a key of version {body[0] if body else 'unknown'}, and 4 is what apt takes")
                # RFC 4880, section 12.2: SHA-1 over 99, the length in two bytes, and the packet.
                framed = b"\x99" + len(body).to_bytes(2, "big") + body
                found.append(hashlib.sha1(framed, usedforsecurity=False).hexdigest().upper())
    if not found:
        raise ValueError("no armoured OpenPGP public key")
    return found


def _packet(content: bytes, at: int) -> tuple[int, bytes, int]:
    """Return a packet's tag, its body and where the next begins (RFC 4880, section 4.2)."""
    header = content[at]
    if not header & 0x80:
        raise ValueError("no OpenPGP packet")
    if header & 0x40:
        tag, first = header & 0x3F, content[at + 1]
        if first < 192:
            length, start = first, at + 2
        elif first < 224:
            length, start = ((first - 192) << 8) + content[at + 2] + 192, at + 3
        else:
            length, start = int.from_bytes(content[at + 2 : at + 6], "big"), at + 6
    else:
        tag, size = (header & 0x3C) >> 2, 1 << (header & 3)
        length, start = int.from_bytes(content[at + 1 : at + 1 + size], "big"), at + 1 + size
    return tag, content[start : start + length], start + length


_SOURCES = Path("/etc/apt/sources.list.d")
_STAMPS = (Path("/var/lib/apt/lists"), Path("/var/lib/apt/periodic/update-success-stamp"))
_KEYS = Path("/etc/apt/keyrings")


class Source(NamedTuple):
    """What apt reads: `suites` is "/" for a flat repository, which has no components."""

    name: str
    uri: str
    suites: str
    components: str

    @property
    def path(self) -> Path:
        """Return the file of the source."""
        return _SOURCES / f"{self.name}.sources"

    @property
    def key_path(self) -> Path:
        """Return the file of its key."""
        return _KEYS / f"{self.name}.asc"

    def text(self, key_path: Path | None = None) -> str:
        """Return the source in deb822; `key_path` for a key that is not in place yet."""
        components = f"Components: {self.components}\n" if self.components else ""
        return (
            f"Types: deb\nURIs: {self.uri}\nSuites: {self.suites}\n{components}Signed-By: {key_path or self.key_path}\n"
            "# Written by Roundhouse; the key was compared with a pinned fingerprint.\n"
        )


def require_key(key: bytes, fingerprint: str, url: str) -> None:
    """Raise RoundhouseError unless a key file holds the pinned key and no other."""
    try:
        found = fingerprints(key)
    except (ValueError, IndexError) as error:
        raise RoundhouseError("key", f"{url} is not a key ({error}): nothing was changed.") from None
    if found != [fingerprint.upper()]:
        raise RoundhouseError(
            "key",
            f"{url} is the key {', '.join(found)}, and {fingerprint.upper()} is pinned: nothing was changed. A mirror "
            "with a key of its own wants its fingerprint beside its URL; else ask the maker whether the key is new.",
        )


def key_of(source: Source, url: str, fingerprint: str) -> str:
    """Return the pinned key: the one that is in place, else the one at the URL."""
    if source.key_path.exists():
        there = source.key_path.read_bytes()
        try:
            require_key(there, fingerprint, str(source.key_path))
        except RoundhouseError:
            pass  # another pin than last time: fetch the key that it is of
        else:
            return there.decode()
    content = _fetched(url)
    require_key(content, fingerprint, url)
    return content.decode()


def refuse_others(source: Source) -> None:
    """Raise RoundhouseError where another source names the same place."""
    if found := others(source):
        raise RoundhouseError(
            "source",
            f"{', '.join(found)} names {source.uri} already, and this role did not write it: apt refuses two "
            "sources of one place with different keys. Remove that file, or leave this part to it (see the role's "
            "setting of the source).",
        )


def others(source: Source, root: Path = Path("/")) -> list[str]:
    """Return the files of other sources for the same place: apt refuses two that name different keys."""
    place = re.sub(r"^https?://", "", source.uri).rstrip("/")
    files = [root / "etc/apt/sources.list", *sorted((root / "etc/apt/sources.list.d").glob("*"))]
    found = []
    for path in files:
        if path.is_file() and path.name != source.path.name and path.suffix in (".list", ".sources"):
            lines = [line for line in path.read_text(errors="replace").splitlines() if not line.startswith("#")]
            if any(place in line for line in lines):
                found.append(f"/{path.relative_to(root)}")
    return found


def put(source: Source, key: str) -> None:
    """Let apt read the source with this key, and put both in place only when that went well."""
    with tempfile.TemporaryDirectory(dir=_made(_SOURCES.parent), prefix=".roundhouse-") as folder:
        Path(folder).chmod(0o755)  # apt reads as a user of its own
        key_path, path = Path(folder, "key.asc"), Path(folder, "try.sources")
        util_files.write(key_path, key)
        util_files.write(path, source.text(key_path))
        read(source, path)
    util_files.write(_made(_KEYS) / source.key_path.name, key)
    util_files.write(source.path, source.text())


def read(source: Source, path: Path | None = None) -> None:
    """Let apt read this source alone. Raises RoundhouseError with apt's own words when it is not all right.

    Without Error-Mode apt takes a signature that it cannot verify for a warning and goes on with its old index.
    """
    options = {
        "Dir::Etc::sourcelist": str(path or source.path),
        "Dir::Etc::sourceparts": "-",
        "APT::Get::List-Cleanup": "0",
        "APT::Update::Error-Mode": "any",
        "DPkg::Lock::Timeout": "600",
    }
    arguments = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    # By these times apt's users tell how old all indexes are, and this reads one source alone.
    times = {stamp: stamp.stat() for stamp in _STAMPS if stamp.exists()}
    done = subprocess.run(["apt-get", "update", "--quiet", *arguments], capture_output=True, text=True, check=False)
    for stamp, before in times.items():
        os.utime(stamp, (before.st_atime, before.st_mtime))
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
        raise RoundhouseError(
            "source", f"apt refuses {source.uri}, and its old index is not used either: {' '.join(said[:2])}"
        )


def _fetched(url: str) -> bytes:
    # Here, because they take longer to import than all the rest, and a key that is in place is not fetched.
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    try:
        # With a name, because some servers turn Python's own away.
        with urlopen(Request(url, headers={"User-Agent": "roundhouse"}), timeout=60) as answer:  # noqa: S310 - a mirror may be a file:
            return bytes(answer.read())
    except (OSError, HTTPException, ValueError) as error:
        raise RoundhouseError("key", f"{url} cannot be fetched ({error}): nothing was changed.") from None


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
