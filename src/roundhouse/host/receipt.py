"""The receipt: the packages and accounts that the roles brought to this host, so that a teardown removes no others.

Written before an installation: the receipt of a killed run names too much, which does no harm. Files need no receipt:
those of the roles bear Roundhouse's name.
"""

from __future__ import annotations

import grp
import json
import re
from pathlib import Path
from typing import NamedTuple

from ..util import files, process
from . import dpkg

PATH = Path("/var/lib/roundhouse/receipt.json")
SCHEMA = 1
# `apt-get --simulate` names what it would install; an upgrade has the installed version in brackets.
_NEW = re.compile(r"^Inst (\S+) \(", re.MULTILINE)
# Groups, and users of the same name, that packages of the roles make and some leave behind when they are purged.
_ACCOUNTS = ("docker", "haproxy", "nvidia-persistenced")


class Receipt(NamedTuple):
    """The names of packages that were not installed before, of those that the roles hold, and of new accounts."""

    packages: list[str]
    held: list[str]
    accounts: list[str]


def load() -> Receipt:
    """Return the receipt; an empty one where nothing was brought."""
    try:
        kept = json.loads(PATH.read_text())
    except FileNotFoundError:
        return Receipt([], [], [])
    return Receipt(*(list(kept[name]) for name in Receipt._fields))


def before_installing(names: list[str], *, check: bool) -> bool:
    """Note which packages an installation of these will bring; return whether the receipt has changed."""
    wanted = [name.partition("=")[0] for name in names]
    present = dpkg.installed().versions
    missing = [name for name in wanted if name not in present]
    if check or not missing:
        return False
    brought = _simulated(wanted)
    if brought is None:  # no list of packages yet, or an old one
        process.run(["apt-get", "update", "--quiet", "--option", "DPkg::Lock::Timeout=600"])
        brought = _simulated(wanted)
    if brought is None:  # apt itself reports why, at the installation
        brought = missing
    return _add(Receipt(brought, [], [name for name in _ACCOUNTS if not _has(name)]))


def before_holding(names: list[str], *, check: bool) -> bool:
    """Note that these will be held back, as far as they are not yet."""
    held = dpkg.installed().held
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
    done = process.run(["apt-get", "--simulate", "--no-install-recommends", "install", *names])
    return _NEW.findall(done.stdout) if done.returncode == 0 else None
