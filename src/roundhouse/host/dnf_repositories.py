"""Install a repository of dnf with its key. The key must match a pin, and dnf must read the repository first.

`gpgkey` of a vendor's own file is a URL, from which dnf would import any key. Here it is a file with the verified key.
"""

from __future__ import annotations

import configparser
import platform
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError
from ..util import files, process
from . import apt, apt_sources, dnf, openpgp, rpm

FOLDER = Path("/etc/yum.repos.d")
KEYS = Path("/etc/pki/rpm-gpg")
RELEASE = Path("/etc/os-release")
VARIABLES = (Path("/etc/yum/vars"), Path("/etc/dnf/vars"))
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


class Repository(NamedTuple):
    """A repository of dnf. Packages or metadata are signed; of a `held` one only the roles install packages."""

    name: str
    uri: str
    signed_packages: bool = True
    signed_metadata: bool = False
    held: bool = False

    @property
    def path(self) -> Path:
        """Return the path of the repository's file."""
        return FOLDER / f"{self.name}.repo"

    @property
    def key_path(self) -> Path:
        """Return the path of the key's file."""
        return KEYS / f"RPM-GPG-KEY-{self.name}"

    def text(self, key_path: Path | None = None) -> str:
        """Return the file; `key_path` names a key that is not installed yet."""
        reason = "# Not enabled, so that no upgrade changes a driver that runs.\n" if self.held else ""
        return (
            "# Written by Roundhouse; the key was compared with a pinned fingerprint.\n"
            f"[{self.name}]\nname={self.name}\nbaseurl={self.uri}\n{reason}enabled={int(not self.held)}\n"
            f"gpgcheck={int(self.signed_packages)}\nrepo_gpgcheck={int(self.signed_metadata)}\n"
            f"gpgkey=file://{key_path or self.key_path}\n"
        )


def read_or_fetch_key(repository: Repository, url: str, fingerprint: str) -> str:
    """Return the pinned key: the installed one, else the one at the URL. Raises RoundhouseError."""
    return apt.read_or_fetch_key_at(repository.key_path, url, fingerprint)


def existing(repository: Repository) -> tuple[Path, str] | None:
    """Return the file and the id of someone else's enabled repository with this URL, None without one."""
    wanted = apt_sources.place(repository.uri)
    for path in sorted(FOLDER.glob("*.repo")):
        if path == repository.path:
            continue
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(path.read_text(errors="replace"))
        except configparser.Error:  # dnf skips this file too, and reports it
            continue
        for name in parser.sections():
            on = parser.get(name, "enabled", fallback="1").strip().lower() in ("1", "true", "yes", "on")
            places = re.split(r"[\s,]+", parser.get(name, "baseurl", fallback=""))
            if on and wanted in [apt_sources.place(expand(each)) for each in places]:
                return path, name
    return None


def expand(uri: str) -> str:
    """Return a URI with dnf's variables replaced."""
    values = variables()
    return _VARIABLE.sub(lambda found: values.get(found[1], found[0]), uri)


def variables() -> Mapping[str, str]:
    """Return dnf's variables: of the system, and of the host's owner."""
    lines = RELEASE.read_text().splitlines() if RELEASE.exists() else []
    release = {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in lines)}
    major = release.get("VERSION_ID", "").partition(".")[0]
    found = {"releasever": major, "releasever_major": major, "basearch": platform.machine(), "arch": platform.machine()}
    for folder in VARIABLES:
        found |= {path.name: path.read_text().strip() for path in folder.glob("*") if path.is_file()}
    return found


def install(repository: Repository, key: str) -> None:
    """Install the repository and its key after dnf has read it with this key. Raises RoundhouseError."""
    files.make_folder(FOLDER)
    files.make_folder(KEYS)
    with tempfile.TemporaryDirectory(prefix="roundhouse-") as folder:
        key_path, path = Path(folder, "key"), Path(folder, f"{repository.name}.repo")
        files.write(key_path, key)
        files.write(path, repository.text(key_path))
        update(repository, Path(folder))
    files.write(repository.key_path, key)
    files.write(repository.path, repository.text())


def update(repository: Repository, folder: Path | None = None, name: str = "") -> None:
    """Update dnf's index of this repository alone, or of the id `name`. Raises RoundhouseError with dnf's message."""
    options = [f"--setopt=reposdir={folder}"] if folder else []
    done = dnf.run(*options, f"--repo={name or repository.name}", "--refresh", "makecache")
    if done.returncode != 0:
        raise RoundhouseError(
            "dnf_repository_refused",
            "dnf refuses {uri} and does not use its old index: {output}.",
            "Check the URL and key in the role's settings or in the repository's file, and the host's network.",
            uri=repository.uri,
            output=dnf.reason(done),
        )


def import_key(repository: Repository, key: str) -> list[str]:
    """Import the key of signed packages into rpm's database, unless it is there; return rpm's names of new ones."""
    if not repository.signed_packages:
        return []
    wanted = openpgp.fingerprints(openpgp.packets(key.encode()))
    before = [name for each in wanted for name in rpm.imported(each)]
    if before:
        return []
    done = process.run(["rpmkeys", "--import", repository.key_path])
    if done.returncode != 0:
        raise RoundhouseError(
            "rpm_key_refused",
            "rpm refuses the key {file}: {output}.",
            "Ask the vendor for a key that the host's cryptographic policy accepts.",
            file=str(repository.key_path),
            output=done.stderr.strip().rstrip("."),
        )
    return [name for each in wanted for name in rpm.imported(each)]
