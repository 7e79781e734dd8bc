"""Inspect the installed container engine, and choose the action of the role container_engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from . import docker
from .dpkg import Packages

# The packages of a container engine -> their source.
ORIGINS = {"docker-ce": "docker", "docker.io": "distribution", "moby-engine": "distribution"}
# Before this version a port published on 127.0.0.1 can be reached from the same network segment (moby#45610).
LOOPBACK_IS_PRIVATE = (28, 0)
CDI_SINCE = (25, 0)


class Engine(NamedTuple):
    """The installed engine; all fields are None without one.

    `origin` is a value of container_engine_source. `running` are the names of the running containers, None if the
    engine does not answer.
    """

    origin: str | None = None
    package: str | None = None
    version: str | None = None
    running: list[str] | None = None
    compose: str | None = None


class Choice(NamedTuple):
    """The role's action: skip, refuse or install (installed packages are kept); `sentence` gives the reason."""

    action: str
    sentence: str
    missing: Sequence[str] = ()
    warnings: Sequence[str] = ()


class Source(TypedDict, total=False):
    """A source of the engine on one platform: its packages, or a sentence that states why it is refused."""

    packages: list[str]
    refused: str


class Wanted(NamedTuple):
    """The settings of the role container_engine, and the host's row in the role's table of platforms."""

    runtime: str
    source: str
    replace: bool
    platform: dict[str, Source]  # by the name of the source
    platform_name: str


def inspect(packages: Packages) -> Engine:
    """Return the installed engine."""
    package = _package(packages)
    if package is None:
        return Engine()
    return Engine(
        origin=ORIGINS[package],
        package=package,
        version=version(packages),
        running=docker.running(),
        compose=docker.compose_version(),
    )


def version(packages: Packages) -> str | None:
    """Return the version of the running engine, else of its package; None without an engine."""
    package = _package(packages)
    if package is None:
        return None
    return docker.server_version() or _upstream(packages.versions[package])


def choose(engine: Engine, packages: Packages, wanted: Wanted) -> Choice:
    """Return the action for the installed engine and the settings."""
    source, row = wanted.source, wanted.platform.get(wanted.source)
    setting = f"container_engine_source is {source}"
    if wanted.runtime == "native":
        return Choice("skip", "The agents run as native processes of systemd; no container engine is installed.")
    if row is None:
        known = f"write {' or '.join(wanted.platform)}" if wanted.platform else "install an engine with CDI yourself"
        return Choice("refuse", f"{setting}, which is not supported on {wanted.platform_name}: {known}.")
    if "refused" in row:
        return Choice("refuse", f"{setting}: {row['refused']}")
    if engine.origin not in (None, source) and not wanted.replace:
        running = f" (it runs {', '.join(engine.running)})" if engine.running else ""
        return Choice(
            "refuse",
            f"{setting}, which would replace the installed {engine.package} {engine.version}{running}: write "
            f"container_engine_source: {engine.origin} to keep it, or container_engine_replace: true to replace it.",
        )
    missing = [package for package in row["packages"] if package not in packages.versions]
    if engine.origin == source and not missing:
        sentence = f"Docker {engine.version} from {source} is installed, with compose {engine.compose}."
    else:
        sentence = f"Docker is installed from {source}: {', '.join(missing)}."
    return Choice("install", sentence, missing, _warnings(engine))


def major_minor(version: str) -> tuple[int, int]:
    """Return the major and minor number of an engine's version, for comparisons."""
    major, minor = _upstream(version).split(".")[:2]
    return int(major), int(minor)


def _warnings(engine: Engine) -> list[str]:
    if engine.version is None or major_minor(engine.version) >= LOOPBACK_IS_PRIVATE:
        return []
    return [
        f"Docker {engine.version} is older than 28.0: a port that it publishes on 127.0.0.1 can be reached from the "
        "same network segment (moby#45610). Filter in the chain DOCKER-USER, or install a newer engine."
    ]


def _package(packages: Packages) -> str | None:
    return next((name for name in ORIGINS if name in packages.versions), None)


def _upstream(version: str) -> str:
    return version.rpartition(":")[2].partition("-")[0].partition("+")[0]
