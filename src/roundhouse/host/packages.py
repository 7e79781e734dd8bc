"""The packages of a host, from dpkg's or rpm's own database."""

from __future__ import annotations

import shutil
import subprocess
from typing import NamedTuple


class Packages(NamedTuple):
    """`versions` of what is installed; `held` back from upgrades; `broken`: half installed or half configured."""

    versions: dict[str, str]
    held: list[str]
    broken: list[str]


def installed() -> Packages:
    """Ask dpkg, or rpm where there is no dpkg."""
    if shutil.which("dpkg-query"):
        form = "${binary:Package}\t${Version}\t${db:Status-Abbrev}\n"
        return parse_dpkg(_said("dpkg-query", "--show", f"--showformat={form}"))
    rows = _said("rpm", "--query", "--all", "--queryformat", "%{NAME}\t%{VERSION}\n").splitlines()
    return Packages(dict(row.split("\t") for row in rows), [], [])


def parse_dpkg(listing: str) -> Packages:
    """Read lines of name, version and dpkg's status letters: wanted (h: held), status (i: installed), error."""
    versions, held, broken = {}, [], []
    for row in listing.splitlines():
        name, version, status = row.split("\t")
        name = name.partition(":")[0]  # of the architecture
        if status[1] == "i":
            versions[name] = version
        elif status[1] not in "nc":  # n: not there, c: its configuration files alone are left
            broken.append(name)
        if status[0] == "h":
            held.append(name)
    return Packages(versions, held, broken)


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
