"""The receipt: what the roles brought to this host that nothing else tells, so that a teardown takes that and no more.

Written before it is brought: a run that is killed leaves a receipt that names too much, and what is not installed need
not go. Files need none: those of the roles bear Roundhouse's name.
"""

from __future__ import annotations

import grp
import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from ..util import files
from . import packages as host_packages

PATH = Path("/var/lib/roundhouse/receipt.json")
SCHEMA = 1
# `apt-get --simulate` names what it would put on; an upgrade has the version that is there in brackets.
_NEW = re.compile(r"^Inst (\S+) \((\S+)", re.MULTILINE)


# The groups, and users of the same name, that packages of the roles make and leave behind, some when they are purged.
_ACCOUNTS = ("docker", "haproxy", "nvidia-persistenced")


class Receipt(NamedTuple):
    """Names: packages that were not there before, those that the roles hold back, and accounts that came with them."""

    packages: list[str]
    held: list[str]
    accounts: list[str]


def load(path: Path | None = None) -> Receipt:
    """Return the receipt; an empty one where nothing was brought."""
    try:
        kept = json.loads((path or PATH).read_text())
    except FileNotFoundError:
        return Receipt([], [], [])
    return Receipt(*(list(kept[name]) for name in Receipt._fields))


def before_installing(names: list[str], *, check: bool) -> bool:
    """Note which packages an installation of these will bring; return whether the receipt became another."""
    wanted = [name.partition("=")[0] for name in names]
    there = host_packages.installed()
    if check or all(name in there.versions for name in wanted):
        return False
    found = _simulated(wanted)
    if found is None:  # no list of packages yet, or an old one
        _run("apt-get", "update", "--quiet", "--option", "DPkg::Lock::Timeout=600")
        found = _simulated(wanted)
    # What apt cannot do it says itself, at the installation.
    brought = found if found is not None else [name for name in wanted if name not in there.versions]
    return _add(Receipt(brought, [], [name for name in _ACCOUNTS if not _has(name)]))


def before_holding(names: list[str], *, check: bool) -> bool:
    """Note that these will be held back, as far as they are not yet."""
    held = host_packages.installed().held
    return not check and _add(Receipt([], [name for name in names if name not in held], []))


def _has(account: str) -> bool:
    try:
        grp.getgrnam(account)
    except KeyError:
        return False
    return True


def _add(more: Receipt) -> bool:
    before = load()
    after = Receipt(*(sorted({*old, *new}) for old, new in zip(before, more, strict=True)))
    if after == before:
        return False
    files.write(PATH, json.dumps({"schema": SCHEMA, **after._asdict()}, indent=2) + "\n")
    return True


def _simulated(names: list[str]) -> list[str] | None:
    done = _run("apt-get", "--simulate", "--no-install-recommends", "install", *names)
    return [name for name, _ in _NEW.findall(done.stdout)] if done.returncode == 0 else None


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
