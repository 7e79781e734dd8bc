"""List the packages of a host from dpkg's database."""

from __future__ import annotations

import re
import shutil
from typing import NamedTuple

from ..util import process

# The driver packages of NVIDIA, Debian and Ubuntu.
DRIVER = re.compile(
    r"^(nvidia-(driver|kernel|open|dkms|headless|utils|compute-utils|current|modprobe|smi|persistenced)\b.*"
    r"|cuda-drivers.*|libcuda1|libnvidia-(?!container).*|linux-modules-nvidia-.*)$"
)


class Packages(NamedTuple):
    """The packages: `versions` of the installed, `held` from upgrades, `broken` (half installed or configured)."""

    versions: dict[str, str]
    held: list[str]
    broken: list[str]

    @property
    def drivers(self) -> list[str]:
        """Return the names of the installed packages of an NVIDIA driver."""
        return sorted(filter(DRIVER.match, self.versions))


def installed() -> Packages:
    """Return the packages; empty on a host without dpkg, which preflight refuses."""
    if not shutil.which("dpkg-query"):
        return Packages({}, [], [])
    form = "${binary:Package}\t${Version}\t${db:Status-Abbrev}\n"
    return parse(process.run(["dpkg-query", "--show", f"--showformat={form}"], check=True).stdout)


def parse(listing: str) -> Packages:
    """Parse lines of name, version and dpkg's status letters: desired (h: held), status (i: installed), error."""
    versions, held, broken = {}, [], []
    for row in listing.splitlines():
        name, version, status = row.split("\t")
        name = name.partition(":")[0]  # of the architecture
        if status[1] == "i":
            versions[name] = version
        elif status[1] not in "nc":  # n: not installed, c: only its configuration files are left
            broken.append(name)
        if status[0] == "h":
            held.append(name)
    return Packages(versions, held, broken)
