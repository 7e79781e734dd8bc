"""Install an apt repository with its key. The key must match a pin, and apt must accept the repository first.

ansible.builtin.deb822_repository is not used: it needs python3-debian on the host, pins no fingerprint, and writes the
source before apt has verified its signature.
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
    """An apt source; `suites` is "/" for a flat repository, which has no components."""

    name: str
    uri: str
    suites: str
    components: str

    @property
    def path(self) -> Path:
        """Return the path of the source's file."""
        return _SOURCES / f"{self.name}.sources"

    @property
    def key_path(self) -> Path:
        """Return the path of the key's file."""
        return _KEYS / f"{self.name}.asc"

    def text(self, key_path: Path | None = None) -> str:
        """Return the source in deb822 format; `key_path` names a key that is not installed yet."""
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
            "key_invalid",
            "{url} is not an OpenPGP key ({problem}); nothing was changed.",
            "Correct the role's key URL.",
            url=url,
            problem=str(error),
        ) from None
    if found != [fingerprint.upper()]:
        raise RoundhouseError(
            "key_not_pinned",
            "{url} is the key {found}, but {pinned} is pinned; nothing was changed.",
            "For a mirror's own key set the fingerprint beside the URL, otherwise ask the vendor if the key changed.",
            url=url,
            found=", ".join(found),
            pinned=fingerprint.upper(),
        )


def read_or_fetch_key(source: Source, url: str, fingerprint: str) -> str:
    """Return the pinned key: the installed one, else the one at the URL. Raises RoundhouseError."""
    if source.key_path.exists():
        key = source.key_path.read_bytes()
        try:
            require_key(key, fingerprint, str(source.key_path))
        except RoundhouseError:
            pass  # the pin has changed: fetch its key
        else:
            return key.decode()
    key = _fetch(url)
    require_key(key, fingerprint, url)
    return key.decode()


def require_only_source(source: Source) -> None:
    """Raise RoundhouseError if another source file names the same repository."""
    if found := others(source):
        raise RoundhouseError(
            "repository_conflict",
            "{files} already names {uri}, and apt refuses two sources of one repository with different keys.",
            "Remove that file, or set the role's source to one that adds no repository.",
            files=", ".join(found),
            uri=source.uri,
        )


def others(source: Source, root: Path = Path("/")) -> list[str]:
    """Return the paths of other source files for the same repository: apt refuses two with different keys."""
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
    """Install the source and its key after apt has read the source with this key. Raises RoundhouseError."""
    files.make_folder(_SOURCES)
    with tempfile.TemporaryDirectory(dir=_SOURCES.parent, prefix=".roundhouse-") as folder:
        Path(folder).chmod(0o755)  # apt reads as the user _apt
        key_path, path = Path(folder, "key.asc"), Path(folder, "try.sources")
        files.write(key_path, key)
        files.write(path, source.text(key_path))
        update(source, path)
    files.write(source.key_path, key)
    files.write(source.path, source.text())


def update(source: Source, path: Path | None = None) -> None:
    """Update apt's index of this source alone. Raises RoundhouseError with apt's own message.

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
    # These files' times state the age of all indexes, so an update of one source must not change them.
    times = {stamp: stamp.stat() for stamp in _STAMPS if stamp.exists()}
    done = process.run(["apt-get", "update", "--quiet", *arguments])
    for stamp, before in times.items():
        os.utime(stamp, (before.st_atime, before.st_mtime))
    if done.returncode != 0:
        reasons = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
        raise RoundhouseError(
            "repository_refused",
            "apt refuses {uri} and does not use its old index: {output}.",
            "Check the repository's URL and key in the role's settings, and the host's network.",
            uri=source.uri,
            output=" ".join(reasons[:2]).rstrip("."),
        )


def _fetch(url: str) -> bytes:
    # Imported here, because these imports are slow and an installed key is not fetched.
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    try:
        # Some servers refuse the default User-Agent of Python.
        request = Request(url, headers={"User-Agent": "roundhouse"})  # noqa: S310 - a mirror may be a file:
        with urlopen(request, timeout=60) as answer:  # noqa: S310 - likewise
            return bytes(answer.read())
    except (OSError, HTTPException, ValueError) as error:
        raise RoundhouseError(
            "key_not_fetched",
            "{url} cannot be fetched ({problem}); nothing was changed.",
            "Check the role's key URL and the host's network.",
            url=url,
            problem=str(error),
        ) from None
