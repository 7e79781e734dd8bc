"""The names of pinned environments and images, each after its content.

An environment is named after its lock, so that another lock is another folder beside it. A registry's tag is resolved
at the first run, and its digest recorded beside the roster, in group_vars/all/images.lock:

    {"schema": 1, "images": {"vllm/vllm-openai:v0.32.0": "sha256:..."}}

An archive is named after its own digest, and an image that the host builds after its inputs.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from .errors import UsageError
from .paths import CHECKOUT
from .util import files, lock
from .util import lock_file as util_lock_file

ENGINES = Path("/opt/roundhouse/engine")
QUANTIZERS = Path("/opt/roundhouse/quantize")
HUB_CLIENTS = Path("/opt/roundhouse/hub")


def lock_file(accelerator: str, what: str = "engine") -> Path:
    """Return the lock for "cuda" or "cpu" of the engine, or of "quantize"."""
    return CHECKOUT / "requirements" / f"{what}-{accelerator}.txt"


def engine_path(accelerator: str, python: str) -> str:
    """Return the folder of the environment, such as /opt/roundhouse/engine/0.32.0-cpu-1f0c2a9b."""
    return _path(ENGINES, r"vllm(?:-cpu)?", lock_file(accelerator), accelerator, python)


def quantize_path(accelerator: str, python: str) -> str:
    """Return the folder of the environment of quantizing: its pins and the engine's exclude each other."""
    return _path(QUANTIZERS, "llmcompressor", lock_file(accelerator, "quantize"), accelerator, python)


def hub_path(python: str) -> str:
    """Return the folder of the environment of the hub's client: a host whose engine is in an image has no other."""
    path = CHECKOUT / "requirements/hub.txt"
    return f"{HUB_CLIENTS}/{_version('huggingface-hub', path)}-{_key(path, python)}"


def engine_version(accelerator: str) -> str:
    """Return the engine's release that is locked, such as 0.32.0."""
    return _version(r"vllm(?:-cpu)?", lock_file(accelerator))


def _path(root: Path, package: str, path: Path, accelerator: str, python: str) -> str:
    version = _version(package, path)
    return f"{root}/{version}-{accelerator}-{_key(path, python)}"


def _key(path: Path, python: str) -> str:
    return hashlib.sha256(f"{python}\n{path.read_text()}".encode()).hexdigest()[:8]


def _version(package: str, path: Path) -> str:
    if not path.is_file():
        accelerator = path.stem.partition("-")[2]
        raise UsageError(
            "accelerator_unknown",
            "engine_accelerator is {accelerator!r}.",
            "Write cuda or cpu.",
            accelerator=accelerator,
        )
    version = re.search(rf"^{package}==(\S+)", path.read_text(), re.MULTILINE)
    if version is None:
        raise UsageError(
            "lock_package_missing",
            "{path} does not lock {package}.",
            "Create it again with make lock.",
            path=str(path),
            package=package,
        )
    return version[1]


_KIND = "images"
REGISTRY, ARCHIVE, BUILD = "registry", "archive", "build"
# Names of our own, which no registry has: what an archive or a build becomes on the host.
OWN = "roundhouse-engine"
_DIGEST = re.compile(r"(?:sha256:)?[0-9a-f]{64}")
_RECIPE = Path("roles/engine_image/files/Dockerfile")


class ImageSettings(NamedTuple):
    """The settings of group_vars: `name` in a registry, `archive_sha256` of the archive, `base` of a build.

    `mirror` is the registry that serves the images of all registries; empty without one.
    """

    source: str
    name: str
    archive_sha256: str
    base: str
    python: str
    accelerator: str
    mirror: str = ""


def reference(settings: ImageSettings, path: Path) -> str:
    """Return the image as Docker knows it; a registry's is its tag until the lock file has its digest.

    Raises UsageError for an invalid setting.
    """
    if settings.source == REGISTRY:
        tag = tagged(settings.name, settings.accelerator)
        digest = read(path).get(tag)
        pulled = mirrored(tag, settings.mirror)
        return f"{pulled}@{digest}" if digest else pulled  # Docker goes by the digest; the tag is for people
    if settings.source == ARCHIVE:
        if not _DIGEST.fullmatch(settings.archive_sha256):
            raise UsageError(
                "image_archive_sha256_invalid",
                "container_image_archive_sha256 is {value!r}.",
                "Write the archive's sha256, as sha256sum prints it.",
                value=settings.archive_sha256,
            )
        return f"{OWN}:{ARCHIVE}-{settings.archive_sha256.removeprefix('sha256:')[:12]}"
    if settings.source == BUILD:
        recipe = (CHECKOUT / _RECIPE).read_text()
        parts = (recipe, settings.base, settings.python, settings.accelerator)
        return f"{OWN}:{BUILD}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"
    raise UsageError(
        "image_source_unknown",
        "container_image_source is {value!r}.",
        "Write registry, archive or build.",
        value=settings.source,
    )


def tagged(name: str, accelerator: str) -> str:
    """Return the image's name with its tag: its own, else the release of the engine's lock."""
    if tag_of(name) or "@" in name:
        return name
    return f"{name}:v{engine_version(accelerator)}"


def mirrored(reference: str, mirror: str) -> str:
    """Return the image at the mirror, or the reference itself without one. Raises UsageError for an invalid mirror.

    The mirror replaces the registry in the name. Docker Hub's own images, such as debian, are below library/.
    """
    if not mirror:
        return reference
    if "/" in reference and _is_registry(reference.partition("/")[0]):
        reference = reference.partition("/")[2]
    elif "/" not in reference.partition("@")[0]:
        reference = f"library/{reference}"
    if "://" in mirror or not _is_registry(mirror.partition("/")[0]):
        raise UsageError(
            "registry_mirror_invalid",
            "container_image_registry_mirror is {value!r}.",
            "Write HOST, HOST:PORT or HOST/PATH without https://, where HOST contains a dot or has a port.",
            value=mirror,
        )
    return f"{mirror.rstrip('/')}/{reference}"


def _is_registry(name: str) -> bool:
    """Return whether Docker takes the first part of a name for a registry, not for a folder of Docker Hub."""
    return "." in name or ":" in name or name == "localhost"


def tag_of(reference: str) -> str:
    """Return the tag of a reference, empty where it has none."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[2]


def read(path: Path) -> dict[str, str]:
    """Return the digests by the names with their tags, nothing where there is no file. Raises UsageError."""
    return {name: str(digest) for name, digest in util_lock_file.read(path, _KIND).items()}


def record(path: Path, tag: str, digests: list[str], mirror: str = "") -> bool:
    """Record the digest of a tag, from those of the pulled image in Docker (name@sha256:...); return a change.

    The lock has the tag without the mirror. Raises UsageError where Docker names no digest of this registry.
    """
    repository = _repository(mirrored(tag, mirror))
    own = [
        each.rpartition("@")[2] for each in digests if each.rpartition("@")[0].removeprefix("docker.io/") == repository
    ]
    if not own:
        raise UsageError(
            "image_digest_missing",
            "Docker names no digest of {image}, which did not come from a registry.",
            "Remove that image with `docker image rm`, or set container_image_source: archive.",
            image=tag,
        )
    with lock.exclusive(path.parent):
        locked = read(path)
        changed = locked.get(tag) != own[0]
        if changed:
            files.write(path, util_lock_file.text({**locked, tag: own[0]}, _KIND))
    return changed


def _repository(tag: str) -> str:
    return tag.rpartition(":")[0].removeprefix("docker.io/")
