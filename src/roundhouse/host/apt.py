"""Install an apt repository with its key. The key must match a pin, and apt must accept the repository first.

ansible.builtin.deb822_repository is not used: it needs python3-debian on the host, pins no fingerprint, and writes the
source before apt has verified its signature.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError
from ..util import files, process
from . import apt_get, apt_sources, openpgp

_STAMPS = (Path("/var/lib/apt/lists"), Path("/var/lib/apt/periodic/update-success-stamp"))
_KEYS = Path("/etc/apt/keyrings")
_LARGEST_KEY_BYTES = 1 << 20


class Source(NamedTuple):
    """An apt source; `suites` is "/" for a flat repository, which has no components."""

    name: str
    uri: str
    suites: str
    components: str

    @property
    def path(self) -> Path:
        """Return the path of the source's file."""
        return apt_sources.FOLDER / f"{self.name}.sources"

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
    pinned_key(key, fingerprint, url)


def pinned_key(key: bytes, fingerprint: str, url: str) -> str:
    """Return the armour of the key in a key file, of what was compared with the pin. Raises RoundhouseError."""
    try:
        packets = openpgp.packets(key)
        found = openpgp.fingerprints(packets)
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
    # apt may read a file in another way than this program, so the vendor's file itself is not installed.
    return openpgp.armoured(packets)


def read_or_fetch_key(source: Source, url: str, fingerprint: str) -> str:
    """Return the pinned key: the installed one, else the one at the URL. Raises RoundhouseError."""
    return read_or_fetch_key_at(source.key_path, url, fingerprint)


def read_or_fetch_key_at(path: Path, url: str, fingerprint: str) -> str:
    """Return the pinned key: the one in the file, else the one at the URL. Raises RoundhouseError."""
    if path.exists():
        key = path.read_bytes()
        try:
            return pinned_key(key, fingerprint, str(path))
        except RoundhouseError:
            pass  # the pin has changed: fetch its key
    return pinned_key(_fetch(url), fingerprint, url)


def existing(source: Source) -> Path | None:
    """Return the file of someone else that names this repository, whatever its format and key; None if none does.

    Raises RoundhouseError if apt cannot read the sources of others, or if that file lacks packages that are needed.
    """
    wanted = (apt_sources.place(source.uri), "" if source.suites == "/" else source.suites)
    same = [entry for entry in apt_sources.entries(source.path.name) if entry.repository == wanted]
    if not same:
        return None
    native = process.output("dpkg", "--print-architecture") or ""
    for entry in same:
        offered = (entry.kind, entry.component or source.components, entry.architecture or native)
        if offered == ("Packages", source.components, native):
            return entry.path
    raise RoundhouseError(
        "repository_incomplete",
        "{file} names {uri} without {wanted}, and apt refuses a second source of a repository with another key.",
        "Add that to the entry, or remove the entry.",
        file=str(same[0].path),
        uri=source.uri,
        wanted=" ".join(filter(None, (source.components, f"packages for {native}"))),
    )


def install(source: Source, key: str) -> None:
    """Install the source and its key after apt has read the source with this key. Raises RoundhouseError."""
    files.make_folder(apt_sources.FOLDER)
    with tempfile.TemporaryDirectory(dir=apt_sources.FOLDER.parent, prefix=".roundhouse-") as folder:
        Path(folder).chmod(0o755)  # apt reads as the user _apt
        key_path, path = Path(folder, "key.asc"), Path(folder, "try.sources")
        files.write(key_path, key)
        files.write(path, source.text(key_path))
        update(source, path)
    files.write(source.key_path, key)
    files.write(source.path, source.text())


def update(source: Source, path: Path | None = None) -> None:
    """Update apt's index of this source alone, or of the source in `path`. Raises RoundhouseError with apt's message.

    Without Error-Mode apt only warns about a signature that it cannot verify, and keeps its old index.
    """
    options = {
        "Dir::Etc::sourcelist": str(path or source.path),
        "Dir::Etc::sourceparts": "-",
        "APT::Get::List-Cleanup": "0",
        "APT::Update::Error-Mode": "any",
    }
    arguments = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    # These files' times state the age of all indexes, so an update of one source must not change them.
    times = {stamp: stamp.stat() for stamp in _STAMPS if stamp.exists()}
    try:
        done = apt_get.run("update", "--quiet", *arguments)
    finally:
        for stamp, before in times.items():
            os.utime(stamp, (before.st_atime, before.st_mtime))
    if done.returncode != 0:
        reasons = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
        raise RoundhouseError(
            "repository_refused",
            "apt refuses {uri} and does not use its old index: {output}.",
            "Check the URL and key in the role's settings or in the source's file, and the host's network.",
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
            return bytes(answer.read(_LARGEST_KEY_BYTES))
    except (OSError, HTTPException, ValueError) as error:
        raise RoundhouseError(
            "key_not_fetched",
            "{url} cannot be fetched ({problem}); nothing was changed.",
            "Check the role's key URL and the host's network.",
            url=url,
            problem=str(error),
        ) from None
