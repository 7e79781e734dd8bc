"""Ask the host's package manager: apt with dpkg on Debian and Ubuntu, dnf with rpm on RHEL and its rebuilds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from . import apt_candidates, dnf, dpkg, proxy, rpm, system
from .dpkg import APT, DNF, Packages

ROOT = Path("/")


def manager() -> str:
    """Return the manager by the host's os-release, because a host may have the programs of both."""
    return DNF if system.has_dnf(ROOT) else APT


def installed() -> Packages:
    """Return the installed packages; empty on a host without the manager's program, which preflight refuses."""
    return rpm.installed() if manager() == DNF else dpkg.installed()


def candidates(names: Iterable[str]) -> dict[str, str] | None:
    """Return the version that would be installed, by package that has one; None if the manager does not know."""
    if manager() == DNF:
        proxy.apply()
        return dnf.candidates(names)
    return apt_candidates.read(names)


def owner(pattern: str) -> str | None:
    """Return the package that installed a file, None if there is none. The pattern is a glob of one file."""
    return rpm.owner(pattern) if manager() == DNF else dpkg.owner(pattern)
