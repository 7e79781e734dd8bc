"""List the packages of a host from dpkg's database."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ..util import process

# The driver packages of NVIDIA, Debian, Ubuntu and RPM Fusion. The libnvidia-egl packages are libraries of EGL, which
# desktops install on hosts without a driver.
DRIVER = re.compile(
    r"^(nvidia-(driver|kernel|open|dkms|headless|utils|compute-utils|current|modprobe|smi|persistenced|firmware)\b.*"
    r"|cuda-drivers.*|libcuda1|libcudadebugger1|libnvcuvid1|libnvoptix1|libnvidia-(?!container|egl-).*"
    r"|xserver-xorg-video-nvidia.*|firmware-nvidia-.*gsp.*|linux-modules-nvidia-.*"
    r"|a?kmod-nvidia.*|nvidia-kmod-common|xorg-x11-(drv-)?nvidia.*)$"  # of NVIDIA and RPM Fusion for RHEL
)
_KERNEL_META = re.compile(r"^linux-image-(?!unsigned-|\d)")
# Ubuntu's prebuilt kernel modules. Their meta-package brings the module of each new kernel.
KERNEL_MODULES = re.compile(r"^linux-(modules|objects|signatures)-nvidia-")


APT, DNF = "apt", "dnf"


class Packages(NamedTuple):
    """The packages: `versions` of the installed, `held` from upgrades, `broken` (not completely installed).

    `failed` are those of `broken` whose installation or configuration began and did not end.
    """

    versions: dict[str, str]
    held: list[str]
    broken: list[str]
    failed: Sequence[str] = ()
    kernel_metas: Mapping[str, str] = MappingProxyType({})  # the dependencies of each kernel's meta-package
    manager: str = APT

    @property
    def holds(self) -> bool:
        """Return true if the manager can hold packages from upgrades."""
        return self.manager == APT

    @property
    def remove(self) -> str:
        """Return the command with which a person removes packages."""
        return "apt-get purge" if self.manager == APT else "dnf remove"

    @property
    def drivers(self) -> list[str]:
        """Return the names of the installed packages of an NVIDIA driver."""
        return sorted(filter(DRIVER.match, self.versions))

    @property
    def user_space(self) -> list[str]:
        """Return the driver packages except prebuilt kernel modules, which must follow the kernel's updates."""
        return [name for name in self.drivers if not KERNEL_MODULES.match(name)]


def installed() -> Packages:
    """Return the packages; empty on a host without dpkg, which preflight refuses."""
    if not shutil.which("dpkg-query"):
        return Packages({}, [], [])
    form = "${binary:Package}\t${Version}\t${db:Status-Abbrev}\t${Depends}\n"
    return parse(process.run(["dpkg-query", "--show", f"--showformat={form}"], check=True).stdout)


def owner(pattern: str) -> str | None:
    """Return the package of a file, None if no package installed one; the pattern is a glob."""
    return process.run(["dpkg-query", "--search", pattern]).stdout.partition(":")[0] or None


def parse(listing: str) -> Packages:
    """Parse lines of name, version, status and dependencies.

    dpkg's status letters are: desired (h: held), status (i: installed), error.
    """
    versions, held, broken, failed, metas = {}, [], [], [], {}
    for row in listing.splitlines():
        name, version, status, depends = row.split("\t")
        name = name.partition(":")[0]  # of the architecture
        if status[1] == "i":
            versions[name] = version
            if _KERNEL_META.match(name):
                metas[name] = depends
        elif status[1] not in "nc":  # n: not installed, c: only its configuration files are left
            broken.append(name)
            if status[1] in "FH":  # half configured, half installed
                failed.append(name)
        if status[0] == "h":
            held.append(name)
    return Packages(versions, held, broken, failed, metas)
