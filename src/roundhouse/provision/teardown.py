"""Find what a teardown removes: files by the names that roles give them, packages by the receipt, and leftovers."""

from __future__ import annotations

import json
import pwd
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

from ..host import docker, dpkg, initramfs, kernel, packages, receipt, rpm, systemctl
from ..plan import accounts
from . import teardown_files, teardown_packages

OTHERS = "Packages and files that were there before Roundhouse, or that others added, are not touched."
_OTHER_USERS = {accounts.FORMER: accounts.CACHES, "roundhouse-gateway": "/nonexistent"}


class Settings(NamedTuple):
    """The options of the module roundhouse_teardown_info."""

    models_store: str
    models: bool  # whether to remove the models
    packages: bool  # whether to remove the packages that the roles installed


class Removal(TypedDict):
    """The things to remove, by kind, and the steps that their removal needs."""

    units: list[str]  # to stop
    images: list[str]
    packages: list[str]
    removal: list[str]  # the command that removes them
    rpm_keys: list[str]  # keys in rpm's database
    held: list[str]  # held packages, to unhold
    files: list[str]
    folders: list[str]
    services: list[str]  # services that a removed package may leave enabled.
    accounts: list[str]  # users and groups of removed packages.
    users: list[str]  # users of the roles.
    driver: bool  # whether it is removed.
    initramfs: list[list[str]]  # the commands that rebuild it
    kept: list[str]  # sentences
    problems: list[str]  # sentences


def find(settings: Settings, root: Path = Path("/")) -> Removal:
    """Return the things to remove. Nothing is changed."""
    installed, brought, store = packages.installed(), receipt.load(), Path(settings.models_store)
    chosen = teardown_packages.choose(installed, brought, remove=settings.packages)
    keeps_models = not settings.models and store.is_dir() and any(store.iterdir())
    removes_driver = any(map(dpkg.DRIVER.match, chosen.installed))
    files = teardown_files.files(root, keep_docker_repository=bool(chosen.foreign), with_stream=removes_driver)
    folders = teardown_files.folders(root, keep=store if keeps_models else None, with_docker=chosen.removes_docker)
    if settings.models:
        folders = [*teardown_files.models(store), *folders]
    kept = list(chosen.kept)
    if keeps_models:
        kept.append(f"The models in {store} are kept, because teardown_models is false.")
    return {
        "units": _units(files),
        "images": [] if chosen.removes_docker else _images(root),
        "packages": chosen.installed,
        "removal": chosen.command,
        "rpm_keys": [] if chosen.foreign else [name for name in brought.keys if rpm.has(name)],
        "held": [name for name in brought.held if name in installed.held],
        "files": [*files, *teardown_files.emptied_folders(files)],
        "folders": folders,
        "services": chosen.services,
        "accounts": [name for name in brought.accounts if chosen.owns(name)],
        "users": _users(),
        "driver": removes_driver,
        "initramfs": initramfs.commands(root, kernel.kernels(root)) if "modprobe.d" in "".join(files) else [],
        "kept": kept,
        "problems": chosen.problems,
    }


def text(found: Removal, verb: str = "remove") -> list[str]:
    """Return what is removed and what is kept, for a person; `verb` is removed when it was done."""
    kinds: tuple[Literal["units", "images", "packages", "files", "folders", "users"], ...]
    kinds = ("units", "images", "packages", "files", "folders", "users")
    lines = [f"{verb} {kind}: {' '.join(found[kind])}" for kind in kinds if found[kind]]
    after = "kept" if verb == "removed" else "keep"
    reboot = ["The loaded driver stays in the kernel until the next reboot."] if found["driver"] else []
    kept = [f"{after}: {sentence}" for sentence in (*found["kept"], *reboot, OTHERS)] if lines or found["kept"] else []
    return [*(lines or ["Roundhouse is not installed on this host."]), *kept]


def _units(files: list[str]) -> list[str]:
    """Return the units to stop, including instances of templates (NAME@.service) and units whose file is missing."""
    names = {Path(path).name for path in files if path.endswith((".service", ".socket", ".path"))}
    names |= {*systemctl.active("roundhouse*.service", "roundhouse*.socket", "roundhouse*.path")}
    return sorted(name for name in names if "@." not in name)


def _images(root: Path) -> list[str]:
    """Return the installed images that the plans of this host name."""
    plans = [root / "etc/roundhouse/plan.json", *sorted(root.glob("var/lib/roundhouse/plans/*/plan.json"))]
    images = {json.loads(path.read_text() or "{}").get("image") for path in plans if path.exists()}
    return sorted(image for image in images if image and docker.has_image(image))


def _users() -> list[str]:
    """Return the roles' accounts. An account of such a name with another home is not Roundhouse's."""

    def home(name: str) -> str | None:
        own = accounts.cache(name.removeprefix(accounts.PREFIX)) if name.startswith(accounts.PREFIX) else None
        return _OTHER_USERS.get(name, own)

    return sorted(each.pw_name for each in pwd.getpwall() if each.pw_dir == home(each.pw_name))
