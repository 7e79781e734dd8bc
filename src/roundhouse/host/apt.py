"""A repository of apt with its key: fetched, compared with a pin, and in place only after apt has read it.

ansible.builtin.deb822_repository does not serve here: it needs python3-debian on the host, pins no fingerprint, and
writes the source before anybody knows whether apt accepts its signature.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError
from ..util import files, process
from . import openpgp

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
        found = openpgp.fingerprints(key)
    except (ValueError, IndexError) as error:
        raise RoundhouseError(
            "key_invalid", "{url} is not a key ({problem}), and nothing was changed.", url=url, problem=str(error)
        ) from None
    if found != [fingerprint.upper()]:
        raise RoundhouseError(
            "key_not_pinned",
            "{url} is the key {found}, but {pinned} is pinned, and nothing was changed.",
            "Set the fingerprint beside the URL for a mirror's own key, else ask the vendor whether the key is new.",
            url=url,
            found=", ".join(found),
            pinned=fingerprint.upper(),
        )


def read_or_fetch_key(source: Source, url: str, fingerprint: str) -> str:
    """Return the pinned key: the one that is in place, else the one at the URL."""
    if source.key_path.exists():
        key = source.key_path.read_bytes()
        try:
            require_key(key, fingerprint, str(source.key_path))
        except RoundhouseError:
            pass  # another pin than last time: fetch its key
        else:
            return key.decode()
    key = _fetch(url)
    require_key(key, fingerprint, url)
    return key.decode()


def require_only_source(source: Source) -> None:
    """Raise RoundhouseError where another source names the same place."""
    if found := others(source):
        raise RoundhouseError(
            "repository_conflict",
            "{files} names {uri} already, and apt refuses two sources of one place with different keys.",
            "Remove that file, or set the role's source so that it installs nothing.",
            files=", ".join(found),
            uri=source.uri,
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


def install(source: Source, key: str) -> None:
    """Let apt read the source with this key, and put both in place only when that succeeded."""
    files.make_folder(_SOURCES)
    with tempfile.TemporaryDirectory(dir=_SOURCES.parent, prefix=".roundhouse-") as folder:
        Path(folder).chmod(0o755)  # apt reads as a user of its own
        key_path, path = Path(folder, "key.asc"), Path(folder, "try.sources")
        files.write(key_path, key)
        files.write(path, source.text(key_path))
        update(source, path)
    files.write(source.key_path, key)
    files.write(source.path, source.text())


def update(source: Source, path: Path | None = None) -> None:
    """Let apt read this source alone. Raises RoundhouseError with apt's own words.

    Without Error-Mode apt only warns about a signature that it cannot verify, and keeps its old index.
    """
    options = {
        "Dir::Etc::sourcelist": str(path or source.path),
        "Dir::Etc::sourceparts": "-",
        "APT::Get::List-Cleanup": "0",
        "APT::Update::Error-Mode": "any",
        "DPkg::Lock::Timeout": "600",
    }
    arguments = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    # These times tell how old all indexes are, and this reads one source alone.
    times = {stamp: stamp.stat() for stamp in _STAMPS if stamp.exists()}
    done = process.run(["apt-get", "update", "--quiet", *arguments])
    for stamp, before in times.items():
        os.utime(stamp, (before.st_atime, before.st_mtime))
    if done.returncode != 0:
        reasons = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
        raise RoundhouseError(
            "repository_refused",
            "apt refuses {uri}, and does not use its old index either: {output}",
            uri=source.uri,
            output=" ".join(reasons[:2]),
        )


def _fetch(url: str) -> bytes:
    # Imported here, because they take longer than all the rest, and a key that is in place is not fetched.
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    try:
        # With a name, because some servers refuse Python's own.
        request = Request(url, headers={"User-Agent": "roundhouse"})  # noqa: S310 - a mirror may be a file:
        with urlopen(request, timeout=60) as answer:  # noqa: S310 - likewise
            return bytes(answer.read())
    except (OSError, HTTPException, ValueError) as error:
        raise RoundhouseError(
            "key_not_fetched",
            "{url} cannot be fetched ({problem}), and nothing was changed.",
            url=url,
            problem=str(error),
        ) from None
