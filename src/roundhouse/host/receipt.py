"""Record the packages and accounts that the roles install on a host, so that a teardown removes only these.

The receipt is written before an installation. After a killed run it may name packages that were not installed, which
does no harm. Files need no receipt: those of the roles have Roundhouse in their name.
"""

from __future__ import annotations

import grp
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..util import files, process
from ..util.pairs import pairs
from . import apt_get, dnf, dpkg, rpm

PATH = Path("/var/lib/roundhouse/receipt.json")
SCHEMA = 1
# `apt-get --simulate` lists new packages in this form; an upgrade has the installed version in brackets.
_NEW = re.compile(r"^Inst (\S+) \(", re.MULTILINE)
# Groups, and users of the same name, that the roles' packages create; some packages keep them when they are purged.
_ACCOUNTS = ("docker", "haproxy", "nvidia-persistenced")


class Receipt(NamedTuple):
    """The names of newly installed packages, of held packages, of new accounts, and of new keys in rpm's database."""

    packages: list[str]
    held: list[str]
    accounts: list[str]
    keys: list[str]


def load() -> Receipt:
    """Return the receipt; an empty one if the file is missing."""
    try:
        kept = json.loads(PATH.read_text())
    except FileNotFoundError:
        return Receipt([], [], [], [])
    return Receipt(*(list(kept.get(name, [])) for name in Receipt._fields))


def before_installing(names: list[str], *, check: bool) -> bool:
    """Record the packages that installing these will add; return true if the receipt has changed."""
    if check:
        return False
    apt_get.require_unlocked()  # the installation that follows needs the locks
    wanted = [name.partition("=")[0] for name in names]
    present = dpkg.installed().versions
    missing = [name for name in wanted if name not in present]
    if not missing:
        return False
    added = _simulated(wanted)
    if added is None:  # the package index is missing or outdated
        apt_get.run("update", "--quiet")
        added = _simulated(wanted)
    if added is None:  # apt reports the reason at the installation
        added = missing
    return _add(Receipt(added, [], _missing_accounts(), []))


def before_dnf(arguments: Sequence[str], repositories: Sequence[str]) -> bool:
    """Record the packages that an installation by dnf will add; return true if the receipt has changed.

    A package of which another version stays installed, such as a kernel, is not recorded: its name would remove both.
    """
    present = rpm.installed().versions
    added = dnf.additions(arguments, repositories)
    if added is None:  # dnf reports the reason at the installation
        return False
    return _add(Receipt([name for name in added if name not in present], [], _missing_accounts(), []))


def add_keys(names: Sequence[str]) -> bool:
    """Record keys that were imported into rpm's database; return true if the receipt has changed."""
    return bool(names) and _add(Receipt([], [], [], list(names)))


def _missing_accounts() -> list[str]:
    return [name for name in _ACCOUNTS if not _has(name)]


def before_holding(names: list[str], *, check: bool) -> bool:
    """Record that these packages will be held, except those already held; return true if the receipt has changed."""
    if check:
        return False
    apt_get.require_unlocked()  # apt-mark, which follows, does not wait
    held = dpkg.installed().held
    return _add(Receipt([], [name for name in names if name not in held], [], []))


def _has(account: str) -> bool:
    try:
        grp.getgrnam(account)
    except KeyError:
        return False
    return True


def _add(more: Receipt) -> bool:
    before = load()
    after = Receipt(*(sorted({*old, *new}) for old, new in pairs(before, more)))
    if after == before:
        return False
    files.write(PATH, json.dumps({"schema": SCHEMA, **after._asdict()}, indent=2) + "\n")
    return True


def _simulated(names: list[str]) -> list[str] | None:
    done = process.run(["apt-get", "--simulate", "--no-install-recommends", "install", *names])
    return _NEW.findall(done.stdout) if done.returncode == 0 else None
