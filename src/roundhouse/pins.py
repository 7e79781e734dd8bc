"""The engine's environment is named after its lock: another lock is another folder, side by side.

The containers' image: which bytes its name means, for every host, today and next year.

A registry's tag is resolved once, at the first run, and its digest kept beside the roster, group_vars/all/images.lock:

    {"schema": 1, "images": {"vllm/vllm-openai:v0.32.0": "sha256:..."}}

An archive is named after its own digest, and an image that the host builds after all that goes into it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from .errors import UsageError
from .paths import CHECKOUT
from .util import files

ENGINES = Path("/opt/roundhouse/engine")
QUANTIZERS = Path("/opt/roundhouse/quantize")
HUB_CLIENTS = Path("/opt/roundhouse/hub")


def lock_file(accelerator: str, checkout: Path | None = None, what: str = "engine") -> Path:
    """Return the lock for "cuda" or "cpu" of the engine, or of "quantize"; `checkout` is the repository's root."""
    return (checkout or CHECKOUT) / "requirements" / f"{what}-{accelerator}.txt"


def engine_path(accelerator: str, python: str, checkout: Path | None = None) -> str:
    """Return the folder of the environment, such as /opt/roundhouse/engine/0.32.0-cpu-1f0c2a9b."""
    return _path(ENGINES, r"vllm(?:-cpu)?", lock_file(accelerator, checkout), accelerator, python)


def quantize_path(accelerator: str, python: str, checkout: Path | None = None) -> str:
    """Return the folder of the environment of quantizing: its pins and the engine's exclude each other."""
    return _path(QUANTIZERS, "llmcompressor", lock_file(accelerator, checkout, "quantize"), accelerator, python)


def hub_path(python: str, checkout: Path | None = None) -> str:
    """Return the folder of the environment of the hub's client: a host whose engine is in an image has no other."""
    path = (checkout or CHECKOUT) / "requirements/hub.txt"
    return f"{HUB_CLIENTS}/{_version('huggingface-hub', path)}-{_key(path, python)}"


def engine_version(accelerator: str, checkout: Path | None = None) -> str:
    """Return the engine's release that is locked, such as 0.32.0."""
    return _version(r"vllm(?:-cpu)?", lock_file(accelerator, checkout))


def _path(root: Path, package: str, path: Path, accelerator: str, python: str) -> str:
    version = _version(package, path)
    return f"{root}/{version}-{accelerator}-{_key(path, python)}"


def _key(path: Path, python: str) -> str:
    return hashlib.sha256(f"{python}\n{path.read_text()}".encode()).hexdigest()[:8]


def _version(package: str, path: Path) -> str:
    if not path.is_file():
        accelerator = path.stem.partition("-")[2]
        raise UsageError("engine", f"engine_accelerator is {accelerator!r}: write cuda or cpu.")
    version = re.search(rf"^{package}==(\S+)", path.read_text(), re.MULTILINE)
    if version is None:
        raise UsageError("engine", f"{path} locks no {package}: make it again with make lock.")
    return version[1]


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
        recipe = ((checkout or CHECKOUT) / _RECIPE).read_text()
        parts = (recipe, wanted.base, wanted.python, wanted.accelerator)
        return f"{OWN}:{BUILD}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"
    raise UsageError("image", f"container_image_source is {wanted.source!r}: write registry, archive or build.")


def tagged(name: str, accelerator: str, checkout: Path | None = None) -> str:
    """Return the image's name with its tag: the one that is written, else the release that the engine's lock has."""
    if tag_of(name) or "@" in name:
        return name
    return f"{name}:v{engine_version(accelerator, checkout)}"


def tag_of(reference: str) -> str:
    """Return the tag of a reference, empty where it has none."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[2]


def read(path: Path) -> dict[str, str]:
    """Return the digests by the names with their tags, nothing where there is no file. Raises UsageError."""
    return {name: str(digest) for name, digest in files.read(path, _KIND).items()}


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
    with files.exclusive(path):
        locked = read(path)
        changed = locked.get(tag) != own[0]
        if changed:
            files.write(path, files.text({**locked, tag: own[0]}, _KIND))
    return changed


def _repository(tag: str) -> str:
    return tag.rpartition(":")[0].removeprefix("docker.io/")
