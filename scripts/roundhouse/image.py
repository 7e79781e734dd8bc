"""The containers' image: which bytes its name means, for every host, today and next year.

A registry's tag is resolved once, at the first run, and its digest kept beside the roster, group_vars/all/images.lock:

    {"schema": 1, "images": {"vllm/vllm-openai:v0.32.0": "sha256:..."}}

An archive is named after its own digest, and an image that the host builds after all that goes into it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from . import lock, lock_file
from .errors import UsageError
from .manifest import write_aside

_KIND = "images"
REGISTRY, ARCHIVE, BUILD = "registry", "archive", "build"
# Names of our own, which no registry has: what an archive or a build becomes on the host.
OWN = "roundhouse-engine"
_DIGEST = re.compile(r"(?:sha256:)?[0-9a-f]{64}")
_RECIPE = Path("roles/engine_image/files/Dockerfile")


class Wanted(NamedTuple):
    """The settings of group_vars: `name` in a registry, `archive_sha256` of the archive, `base` of a build."""

    source: str
    name: str
    archive_sha256: str
    base: str
    python: str
    accelerator: str


def reference(wanted: Wanted, path: Path, checkout: Path | None = None) -> str:
    """Return the image as Docker knows it; a registry's is its tag until the lock file has its digest.

    Raises UsageError for a setting that cannot be meant.
    """
    if wanted.source == REGISTRY:
        tag = tagged(wanted.name, wanted.accelerator, checkout)
        digest = read(path).get(tag)
        return f"{tag}@{digest}" if digest else tag  # Docker goes by the digest; the tag is for people
    if wanted.source == ARCHIVE:
        if not _DIGEST.fullmatch(wanted.archive_sha256):
            raise UsageError(
                "image",
                f"container_image_archive_sha256 is {wanted.archive_sha256!r}: write what sha256sum says of it.",
            )
        return f"{OWN}:{ARCHIVE}-{wanted.archive_sha256.removeprefix('sha256:')[:12]}"
    if wanted.source == BUILD:
        recipe = ((checkout or Path(__file__).resolve().parents[2]) / _RECIPE).read_text()
        parts = (recipe, wanted.base, wanted.python, wanted.accelerator)
        return f"{OWN}:{BUILD}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"
    raise UsageError("image", f"container_image_source is {wanted.source!r}: write registry, archive or build.")


def tagged(name: str, accelerator: str, checkout: Path | None = None) -> str:
    """Return the image's name with its tag: the one that is written, else the release that the engine's lock has."""
    if tag_of(name) or "@" in name:
        return name
    return f"{name}:v{lock.engine_version(accelerator, checkout)}"


def tag_of(reference: str) -> str:
    """Return the tag of a reference, empty where it has none."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[2]


def read(path: Path) -> dict[str, str]:
    """Return the digests by the names with their tags, nothing where there is no file. Raises UsageError."""
    return {name: str(digest) for name, digest in lock_file.read(path, _KIND).items()}


def record(path: Path, tag: str, digests: list[str]) -> bool:
    """Keep what a tag means, from what Docker says of the image that it pulled (name@sha256:...); return a change.

    Raises UsageError where Docker names no digest of this registry.
    """
    repository = _repository(tag)
    own = [
        each.rpartition("@")[2] for each in digests if each.rpartition("@")[0].removeprefix("docker.io/") == repository
    ]
    if not own:
        raise UsageError("image", f"Docker names no digest of {tag}: it did not come from a registry.")
    with lock_file.exclusive(path):
        locked = read(path)
        changed = locked.get(tag) != own[0]
        if changed:
            write_aside(path, lock_file.text({**locked, tag: own[0]}, _KIND))
    return changed


def _repository(tag: str) -> str:
    return tag.rpartition(":")[0].removeprefix("docker.io/")
