"""Find the files and folders that a teardown removes. Of a mount point only the content is removed."""

from __future__ import annotations

from pathlib import Path

from ..models import manifest, pull_job, store_layout
from ..models.store import LOCK, PARTIAL, REMOVING, stored_models

# Every file that a role writes has Roundhouse in its name.
FILES = (
    "etc/apt/sources.list.d/roundhouse-*",
    "etc/apt/keyrings/roundhouse-*",
    "etc/apt/preferences.d/roundhouse-*",
    "etc/apt/apt.conf.d/*roundhouse-*",
    "etc/yum.repos.d/roundhouse-*",
    "etc/pki/rpm-gpg/RPM-GPG-KEY-roundhouse-*",
    "etc/modprobe.d/roundhouse-*",
    "etc/dracut.conf.d/roundhouse-*",
    "etc/systemd/system/roundhouse*.service",
    "etc/systemd/system/*.wants/roundhouse*.service",
    "etc/systemd/system/roundhouse*.socket",
    "etc/systemd/system/*.wants/roundhouse*.socket",
    "etc/systemd/system/roundhouse*.path",
    "etc/systemd/system/*.d/roundhouse*.conf",
    "usr/local/bin/roundhouse",
    "usr/local/lib/roundhouse-*",
    "usr/local/share/man/man1/roundhouse.1",
    "usr/share/bash-completion/completions/roundhouse",
    "etc/docker/daemon.json.before-roundhouse",
    "run/roundhouse*",
)
DOCKER_REPOSITORY: tuple[str, ...] = (
    "etc/apt/sources.list.d/roundhouse-docker.sources",
    "etc/apt/keyrings/roundhouse-docker.asc",
)
DOCKER_REPOSITORY += ("etc/yum.repos.d/roundhouse-docker.repo", "etc/pki/rpm-gpg/RPM-GPG-KEY-roundhouse-docker")
# dnf's record of the stream that the role nvidia_driver enabled.
STREAM = "etc/dnf/modules.d/nvidia-driver.module"
# Removed last, because they contain the receipt and the notes that the next run needs after a killed one.
FOLDERS = ("opt/roundhouse", "var/cache/roundhouse", "var/lib/roundhouse", "etc/roundhouse")
# The folders that a removed container engine leaves: the data of its containers.
DOCKER_FOLDERS = ("etc/docker", "var/lib/docker", "var/lib/containerd")
# containerd creates it at its start. It may contain networks of other programs than Docker.
NETWORKS = "etc/cni"
# The other files of a store, by their names: the locks, failed pulls, scores of the quality gate, and the link.
STORES_OWN = (LOCK, pull_job.RECORD, ".scores", store_layout.OLD_QUANTIZED, f".{store_layout.OLD_QUANTIZED}.link")


def files(root: Path, *, keep_docker_repository: bool, with_stream: bool = False) -> list[str]:
    """Return the paths of the roles' files; `with_stream` adds the enabled stream of the driver's module."""
    kept = {root / name for name in DOCKER_REPOSITORY} if keep_docker_repository else set()
    found = [path for pattern in (*FILES, *([STREAM] if with_stream else [])) for path in sorted(root.glob(pattern))]
    return [str(path) for path in found if path not in kept]


def emptied_folders(removed: list[str]) -> list[str]:
    """Return the folders of drop-ins and of the man page that contain only removed files."""
    folders = sorted({Path(path).parent for path in removed})
    made = [folder for folder in folders if folder.name.endswith(".service.d") or folder.name == "man1"]
    return [str(folder) for folder in made if all(str(path) in removed for path in folder.iterdir())]


def folders(root: Path, *, keep: Path | None, with_docker: bool) -> list[str]:
    """Return the roles' folders, or their parts except `keep`; `with_docker` adds the container engine's folders."""
    names = FOLDERS
    if with_docker:
        empty = all(path.is_dir() for path in (root / NETWORKS).rglob("*"))
        names = (*DOCKER_FOLDERS, *((NETWORKS,) if empty else ()), *FOLDERS)
    return [part for name in names if (root / name).is_dir() for part in _parts(root / name, keep)]


def models(store: Path) -> list[str]:
    """Return the store's folder if it contains only models, else the folders of its models.

    Only a folder with a manifest is a model: the store may be in a home, or on a disk with other folders.
    """
    return _parts_of_store(store, [stored.folder for stored in stored_models(store) if _is_model(stored.folder)])


def _is_model(folder: Path) -> bool:
    revision = folder.name.removesuffix(REMOVING).removesuffix(PARTIAL)
    return bool(manifest.COMMIT.fullmatch(revision)) and (folder / manifest.NAME).is_file()


def _parts(folder: Path, keep: Path | None) -> list[str]:
    """Return the folder, or those of its parts that are neither kept nor mount points."""
    if folder == keep or folder.is_mount():
        return []
    mounts = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
    if not any(place.is_relative_to(folder) for place in (*mounts, *([keep] if keep else []))):
        return [str(folder)]
    return [part for path in sorted(folder.iterdir()) for part in _parts(path, keep)]


def _parts_of_store(folder: Path, models: list[Path]) -> list[str]:
    if not any(model.is_relative_to(folder) for model in models):
        return []
    if not folder.is_mount() and (folder in models or _holds_only(folder, models)):
        return [str(folder)]
    return [part for path in sorted(folder.iterdir()) if path.is_dir() for part in _parts_of_store(path, models)]


def _holds_only(folder: Path, models: list[Path]) -> bool:
    """Return true if a folder contains only models and the store's own files."""
    return all(
        path in models
        or path.name in STORES_OWN
        or (path.is_dir() and not path.is_symlink() and _holds_only(path, models))
        for path in folder.iterdir()
    )
