"""The container engine of a host: what is there, and what is to be done about it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any, NamedTuple

from .packages import Packages

# The packages that bring an engine, by where they come from.
ORIGINS = {"docker-ce": "docker", "docker.io": "distribution", "moby-engine": "distribution"}
# A port that is published on 127.0.0.1 can be reached from the same network segment before this (moby#45610).
LOOPBACK_HOLDS = (28, 0)
CDI_SINCE = (25, 0)


class Engine(NamedTuple):
    """What is there: `origin` as container_engine_source says it, `package` and its `version`; None for no engine.

    `running`: the names of the running containers, None when the engine does not answer.
    """

    origin: str | None
    package: str | None
    version: str | None
    running: list[str] | None
    compose: str | None


NONE = Engine(None, None, None, None, None)


class Choice(NamedTuple):
    """`action` is skip, refuse or install (which leaves what is there already), `sentence` why."""

    action: str
    sentence: str
    missing: Sequence[str] = ()
    warnings: Sequence[str] = ()


class Wanted(NamedTuple):
    """The settings of the role container_engine, and the host's row in its table of platforms."""

    runtime: str
    source: str
    replace: bool
    platform: dict[str, Any]
    platform_name: str


def see(packages: Packages) -> Engine:
    """Look at the host's engine."""
    package = _package(packages)
    if package is None:
        return NONE
    names = _said("docker", "ps", "--format", "{{.Names}}")
    compose = _said("docker", "compose", "version", "--short")
    return Engine(ORIGINS[package], package, version(packages), names.split() if names is not None else None, compose)


def contents() -> list[str] | None:
    """Return the names of all containers, also of those that do not run, and volumes; None where it does not answer."""
    containers = _said("docker", "ps", "--all", "--format", "{{.Names}}")
    volumes = _said("docker", "volume", "ls", "--format", "{{.Name}}")
    return None if containers is None or volumes is None else [*containers.split(), *volumes.split()]


def has_image(reference: str) -> bool:
    """Return whether the engine has the image."""
    return _said("docker", "image", "inspect", "--format", "{{.Id}}", reference) is not None


def data_root() -> str:
    """Return the folder where the engine keeps images: its own word, else where a new one will."""
    return _said("docker", "info", "--format", "{{.DockerRootDir}}") or "/var/lib/docker"


def version(packages: Packages) -> str | None:
    """Return the engine's version: of the one that runs, else of its package; None for no engine."""
    package = _package(packages)
    if package is None:
        return None
    return _said("docker", "version", "--format", "{{.Server.Version}}") or _upstream(packages.versions[package])


def choose(engine: Engine, packages: Packages, wanted: Wanted) -> Choice:
    """Return what to do."""
    source, platform = wanted.source, wanted.platform
    if wanted.runtime == "native":
        return Choice("skip", "The agents run as native processes of systemd; no container engine is installed.")
    row = platform.get(source)
    if row is None:
        known = f"write {' or '.join(platform)}" if platform else "install an engine with CDI yourself"
        at = f"container_engine_source is {source}"
        return Choice("refuse", f"{at}, which is not known for {wanted.platform_name}: {known}.")
    if "refused" in row:
        return Choice("refuse", f"container_engine_source is {source}: {row['refused']}")
    if engine.origin not in (None, source) and not wanted.replace:
        return Choice("refuse", _would_replace(engine, source))
    missing = [package for package in row["packages"] if package not in packages.versions]
    return Choice("install", _what_is_so(engine, missing, source), missing, _warnings(engine))


def number(version: str) -> tuple[int, int]:
    """Return major and minor of an engine's version, so that it compares."""
    major, minor = _upstream(version).split(".")[:2]
    return int(major), int(minor)


def _would_replace(engine: Engine, source: str) -> str:
    running = f" and runs {', '.join(engine.running)}" if engine.running else ""
    return (
        f"{engine.package} {engine.version} is installed{running}, and container_engine_source is {source}, which "
        f"would replace it: write container_engine_source: {engine.origin} to keep it, or "
        "container_engine_replace: true to replace it."
    )


def _what_is_so(engine: Engine, missing: list[str], source: str) -> str:
    if engine.origin == source and not missing:
        return f"Docker {engine.version} of {source} is there, with compose {engine.compose}."
    return f"Docker is installed from {source}: {', '.join(missing)}."


def _warnings(engine: Engine) -> list[str]:
    if engine.version is None or number(engine.version) >= LOOPBACK_HOLDS:
        return []
    return [
        f"Docker {engine.version} is older than 28.0: a port that it publishes on 127.0.0.1 can be reached from the "
        "same network segment (moby#45610). Filter in the chain DOCKER-USER, or take a newer engine."
    ]


def _package(packages: Packages) -> str | None:
    return next((name for name in ORIGINS if name in packages.versions), None)


def _upstream(version: str) -> str:
    return version.rpartition(":")[2].partition("-")[0].partition("+")[0]


def _said(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
