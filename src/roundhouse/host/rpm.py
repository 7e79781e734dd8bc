"""List the packages of a host from rpm's database."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..util import process
from .dpkg import DNF, Packages

_FORM = "%{NAME}\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\n"
KEY = "gpg-pubkey"  # rpm lists each imported key as a package of this name


def installed() -> Packages:
    """Return the packages; empty on a host without rpm. Nothing is held: rpm has no such state."""
    if not shutil.which("rpm"):
        return Packages({}, [], [], manager=DNF)
    return parse(process.run(["rpm", "--query", "--all", "--queryformat", _FORM], check=True).stdout)


def parse(listing: str) -> Packages:
    """Parse lines of name and version. Of a package with several versions, such as a kernel, the last one counts."""
    rows = (row.split("\t") for row in listing.splitlines())
    return Packages({name: version for name, version in rows if name != KEY}, [], [], manager=DNF)


def owner(pattern: str) -> str | None:
    """Return the package of the first file that matches the glob, None if no package installed it."""
    for path in sorted(Path("/").glob(pattern.lstrip("/"))):
        if name := process.output("rpm", "--query", "--file", "--queryformat", "%{NAME}", str(path)):
            return name
    return None


def has(name: str) -> bool:
    """Return true if a package, or a key by rpm's name of it, is installed."""
    return process.output("rpm", "--query", name) is not None


def imported(fingerprint: str) -> list[str]:
    """Return rpm's names of an imported key."""
    # The version of a key's package is the end of its fingerprint: 8 digits, and the whole one since rpm 6.
    listed = process.output("rpm", "--query", KEY, "--queryformat", "%{NAME}-%{VERSION}-%{RELEASE} %{VERSION}\n") or ""
    rows = [line.split() for line in listed.splitlines()]
    return [row[0] for row in rows if len(row) == 2 and fingerprint.lower().endswith(row[1].lower())]
