"""What of a host is Roundhouse's, and goes with it: by the roles' own names, by the receipt, by Docker's notes."""

from __future__ import annotations

import json
import pwd
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ..errors import RoundhouseError
from ..host import docker, driver_install, packages, receipt, systemd
from ..models.store import held as held_models

# Every file that a role writes bears the name, so that whoever finds one knows whose it is.
FILES = (
    *("etc/apt/sources.list.d/roundhouse-*", "etc/apt/keyrings/roundhouse-*", "etc/apt/preferences.d/roundhouse-*"),
    *("etc/apt/apt.conf.d/*roundhouse-*", "etc/yum.repos.d/roundhouse-*", "etc/modprobe.d/roundhouse-*"),
    *("etc/systemd/system/roundhouse*.service", "etc/systemd/system/*.wants/roundhouse*.service"),
    *("etc/systemd/system/roundhouse*.socket", "etc/systemd/system/*.wants/roundhouse*.socket"),
    *("etc/systemd/system/*.d/roundhouse*.conf",),
    *("usr/local/bin/roundhouse", "usr/local/lib/roundhouse-*"),
    *("usr/local/share/man/man1/roundhouse.1", "usr/share/bash-completion/completions/roundhouse"),
    *("etc/docker/daemon.json.before-roundhouse", "run/roundhouse*"),
)
# Last, because the notes of what is ours lie there: a run that is killed before is done again.
FOLDERS = ("opt/roundhouse", "var/cache/roundhouse", "var/lib/roundhouse", "etc/roundhouse")
# With the home that the roles give them: one of the same name with another home is somebody's own.
USERS = {"roundhouse": "/var/cache/roundhouse", "roundhouse-gateway": "/nonexistent"}
# What a package may leave switched on when it is purged.
_SERVICES = ("nvidia-cdi-refresh.path", "nvidia-cdi-refresh.service", "nvidia-persistenced.service")
_DOCKER = ("docker-ce", "docker.io", "moby-engine")
# What an engine that we brought leaves behind: its data is its containers', and there are none but ours.
_DOCKERS_FOLDERS = ("etc/docker", "var/lib/docker", "var/lib/containerd")
# containerd makes it when it starts, and whoever has a network there is no Docker.
_NETWORKS = "etc/cni"
_SILENT = (
    "Docker does not answer, so nobody knows whose containers are in it: systemctl start docker, or write "
    "teardown_packages: false."
)
_REMOVED = re.compile(r"^(?:Remv|Purg) (\S+)", re.MULTILINE)


def look(settings: dict[str, Any], root: Path = Path("/")) -> dict[str, Any]:
    """Return what goes, by its kind, and in words what is in the way of it (`problems`) or stays (`kept`).

    `settings`: models_store; models and packages, whether these go too.
    """
    there, notes = packages.installed(), receipt.load()
    # Also what is no longer installed: a run that was killed among the packages has left the rest of them.
    ours = list(notes.packages) if settings["packages"] else []
    going = [name for name in ours if name in there.versions]
    kept = [] if settings["packages"] or not notes.packages else ["The packages stay, as teardown_packages says."]
    strangers = _strangers() if set(_DOCKER) & set(going) else []
    if strangers:
        ours, going = ([name for name in names if not _is_dockers(name)] for names in (ours, going))
        kept.append(f"Docker stays, with its repository, for what is not ours in it: {', '.join(strangers)}.")
    store = Path(settings["models_store"])
    models = store.is_dir() and any(store.iterdir()) and not settings["models"]
    if models:
        kept.append(f"The models stay in {store}; teardown_models: true takes them too.")
    stored = _parts_of_a_store(store, [held.folder for held in held_models(store)]) if settings["models"] else []
    files = _matching(FILES, root, ("docker.sources", "docker.asc") if strangers else ("//",))
    # An engine of another package, put there since, has these folders now.
    dockers = set(_DOCKER) & set(ours) and not set(_DOCKER) & set(there.versions) - set(going)
    networks = (_NETWORKS,) if _holds_no_file(root / _NETWORKS) else ()
    folders = [root / folder for folder in (*((*_DOCKERS_FOLDERS, *networks) if dockers else ()), *FOLDERS)]
    return {
        "units": _units(files),
        "images": [] if dockers else _images(root),
        "packages": going,
        "held": [name for name in notes.held if name in there.held],
        "files": [*files, *_emptied(files)],
        "folders": stored
        + [place for each in folders if each.is_dir() for place in _parts(each, store if models else None)],
        "services": [unit for unit in _SERVICES if _package_of(unit) in going],
        "accounts": [name for name in notes.accounts if any(_is_of(name, package) for package in ours)],
        "users": [name for name, home in USERS.items() if _home(name) == home],
        "driver": any(driver_install.DRIVER_PACKAGE.match(name) for name in going),
        "manager": "apt" if shutil.which("dpkg-query") else "dnf",
        "initramfs": any("modprobe.d" in path for path in files),
        "kept": kept,
        "problems": [_SILENT] if strangers is None else _problems(going),
    }


def text(found: dict[str, Any]) -> list[str]:
    """Return what goes, for a person."""
    kinds = ("units", "images", "packages", "files", "folders", "users")
    lines = [f"{kind}: {' '.join(found[kind])}" for kind in kinds if found[kind]]
    return [*(lines or ["Nothing of Roundhouse is on this host."]), *found["kept"]]


def _matching(patterns: tuple[str, ...], root: Path, but: tuple[str, ...]) -> list[str]:
    found = [str(path) for pattern in patterns for path in sorted(root.glob(pattern))]
    return [path for path in found if not path.endswith(but)]


def _problems(going: list[str]) -> list[str]:
    also = sorted(set(_would_go(going)) - set(going))
    cure = (
        "is not ours: it needs a package that Roundhouse installed. Remove it first, or write teardown_packages: false."
    )
    return [f"{', '.join(also)} would go too, and {cure}"] if also else []


def _parts(folder: Path, keep: Path | None) -> list[str]:
    """Return the folder, or what of it goes when something below it is kept. A disk of its own is left as it is."""
    if folder == keep or folder.is_mount():
        return []
    mounts = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
    if not any(place.is_relative_to(folder) for place in (*mounts, *([keep] if keep else []))):
        return [str(folder)]
    return [part for path in sorted(folder.iterdir()) for part in _parts(path, keep)]


def _parts_of_a_store(folder: Path, held: list[Path]) -> list[str]:
    """Return what goes of a store with its models: the folder where it holds nothing else, else those of its parts."""
    if not any(each.is_relative_to(folder) for each in held):
        return []
    if not folder.is_mount() and (folder in held or _holds_only(folder, held)):
        return [str(folder)]
    return [part for path in sorted(folder.iterdir()) if path.is_dir() for part in _parts_of_a_store(path, held)]


def _holds_only(folder: Path, held: list[Path]) -> bool:
    """Return whether nothing but these is in the folder, and the store's own files, whose names begin with a dot."""
    return all(
        path in held or path.name.startswith(".") or (path.is_dir() and _holds_only(path, held))
        for path in folder.iterdir()
    )


def _holds_no_file(folder: Path) -> bool:
    return all(path.is_dir() for path in folder.rglob("*"))


def _units(files: list[str]) -> list[str]:
    """Return the units to stop, of a template (NAME@.service) its instances; those whose file is gone too."""
    names = {Path(path).name for path in files if path.endswith((".service", ".socket"))}
    names |= {*systemd.active("roundhouse*.service", "roundhouse*.socket")}
    return sorted(name for name in names if "@." not in name)


def _home(name: str) -> str | None:
    try:
        return pwd.getpwnam(name).pw_dir
    except KeyError:
        return None


def _is_dockers(name: str) -> bool:
    return name.startswith(("docker", "containerd", "moby", "runc"))


def _strangers() -> list[str] | None:
    """Return the containers and volumes of others, None where nobody knows."""
    found = docker.contents()
    return None if found is None else [name for name in found if not name.startswith("roundhouse-")]


def _images(root: Path) -> list[str]:
    """Return the images that a plan of this host has named."""
    plans = [root / "etc/roundhouse/plan.json", *sorted(root.glob("var/lib/roundhouse/plans/*/plan.json"))]
    named = {json.loads(path.read_text() or "{}").get("image") for path in plans if path.exists()}
    return sorted(name for name in named if name and docker.has_image(name))


def _is_of(account: str, package: str) -> bool:
    return package.startswith(account) or (account == "docker" and package in _DOCKER)


def _package_of(unit: str) -> str | None:
    command = ["dpkg-query", "--search", f"*/systemd/system/{unit}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition(":")[0] or None


def _emptied(files: list[str]) -> list[str]:
    """Return the folders that were made for these files alone: of drop-ins, of the man page."""
    folders = sorted({Path(path).parent for path in files})
    made = [folder for folder in folders if folder.name.endswith(".service.d") or folder.name == "man1"]
    return [str(folder) for folder in made if all(str(path) in files for path in folder.iterdir())]


def _would_go(names: list[str]) -> list[str]:
    if not names:
        return []
    command = ["apt-get", "--simulate", "purge", "--option", "APT::Get::AutomaticRemove=false", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RoundhouseError("teardown", f"apt cannot say what would go: {done.stderr.strip()}")
    return _REMOVED.findall(done.stdout)
