"""Inspect the installed container engine, and choose the action of the role container_engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypedDict

from . import docker, docker_config, receipt, systemctl
from .dpkg import Packages
from .problem import Problem

# The packages of a container engine -> their source.
ORIGINS = {"docker-ce": "docker", "docker.io": "distribution", "moby-engine": "distribution"}
# Docker's packages remove these, or cannot be installed beside them.
RIVALS = ("containerd", "runc", "podman-docker")
# Before this version a port published on 127.0.0.1 can be reached from the same network segment (moby#45610).
LOOPBACK_IS_PRIVATE = (28, 0)
CDI_SINCE = (25, 0)
MOST = 5  # names of containers in a sentence
OTHER = "other"  # the origin of an engine that no package of ORIGINS installed


class Engine(NamedTuple):
    """The installed engine; without one all fields but `rivals` have their defaults.

    `origin` is a value of container_engine_source, or OTHER. `running` are the names of the running containers.
    `others` are those of all containers that Roundhouse did not create. Both are None if the engine does not answer.
    """

    origin: str | None = None
    package: str | None = None
    version: str | None = None
    running: list[str] | None = None
    compose: str | None = None
    others: list[str] | None = None
    own: bool = False  # the role installed it
    configured: bool = False  # the role has written its keys into daemon.json
    has_unit: bool = True  # systemd knows docker.service; a snap has another unit
    swarm: bool = False
    live_restore: bool = False
    cdi: bool | None = None  # the running engine reads CDI specifications
    has_runtime: bool = False  # it has the toolkit's legacy runtime
    rivals: Sequence[str] = ()  # of RIVALS, the packages that the role did not install

    @property
    def strangers(self) -> list[str]:
        """Return the names of running containers that Roundhouse did not create."""
        return [name for name in self.running or [] if name in (self.others or [])]


class Choice(NamedTuple):
    """The role's action: skip, keep, install, upgrade or refuse; `sentence` gives the reason."""

    action: str
    sentence: str
    missing: Sequence[str] = ()  # packages to install, or to upgrade
    warnings: Sequence[str] = ()
    problems: Sequence[Problem] = ()
    source: str = ""  # the packages' source: docker or distribution; empty if no repository is needed
    configures: bool = False  # the role's keys are merged into daemon.json
    excluded: Sequence[str] = ()  # keys that are never merged


class Source(TypedDict, total=False):
    """A source of the engine on one platform: its packages, or a sentence that states why it is refused."""

    packages: list[str]
    refused: str


class Wanted(NamedTuple):
    """The settings of the role container_engine, and the host's row in the role's table of platforms."""

    runtime: str
    source: str  # auto, docker, distribution or none
    replace: bool
    platform: dict[str, Source]  # by the name of the source
    platform_name: str


def inspect(packages: Packages) -> Engine:
    """Return the installed engine."""
    brought = receipt.load().packages
    rivals = [name for name in RIVALS if name in packages.versions and name not in brought]
    package = next((name for name in ORIGINS if name in packages.versions), None)
    info = docker.info()
    if package is None and (not info or "podman-docker" in packages.versions):
        return Engine(rivals=rivals)
    containers = docker.containers()
    return Engine(
        origin=ORIGINS[package] if package else OTHER,
        package=package or "no known package",
        version=info.get("ServerVersion") or _upstream(packages.versions[package or ""]),
        running=None if containers is None else [name for name, runs in containers.items() if runs],
        compose=docker.compose_version(),
        others=None if containers is None else [name for name in containers if not name.startswith("roundhouse-")],
        own=package in brought,
        configured=docker_config.noted("container_engine") != {},
        has_unit=package is not None or systemctl.is_known("docker.service"),
        swarm=(info.get("Swarm") or {}).get("LocalNodeState") == "active",
        live_restore=bool(info.get("LiveRestoreEnabled")),
        cdi=bool(info.get("CDISpecDirs")) if info else None,
        has_runtime="nvidia" in (info.get("Runtimes") or {}),
        rivals=rivals,
    )


def choose(engine: Engine, packages: Packages, wanted: Wanted) -> Choice:
    """Return the action for the installed engine and the settings."""
    if wanted.runtime == "native":
        return Choice("skip", "The agents run as native processes of systemd; no container engine is installed.")
    if found := _problem(engine, wanted):
        problem = found._replace(remedy="; or ".join(_remedies(engine, wanted)))
        return Choice("refuse", problem.text, problems=[problem])
    source = _target(engine, wanted)
    if not source:
        # The repository of the role's own engine is kept up to date.
        own = engine.own and wanted.source != "none"
        made = Choice("keep", _kept(engine), source=engine.origin or "" if own else "")
    elif engine.origin == source and _is_old(engine):
        names = wanted.platform[source]["packages"]
        made = Choice("upgrade", f"Docker {engine.version} is upgraded from {source}.", names, source=source)
    else:
        missing = [name for name in wanted.platform[source]["packages"] if name not in packages.versions]
        instead = f" instead of {engine.package} {engine.version}" if engine.origin not in (None, source) else ""
        sentence = f"Docker is installed from {source}{instead}: {', '.join(missing)}."
        made = Choice("install", sentence, missing, source=source)
    return made._replace(
        warnings=_warnings(engine),
        configures=_configures(engine, source),
        excluded=["live-restore"] if engine.swarm else [],  # dockerd refuses to start with both
    )


def major_minor(version: str) -> tuple[int, int]:
    """Return the major and minor number of an engine's version, for comparisons."""
    major, minor = _upstream(version).split(".")[:2]
    return int(major), int(minor)


def named(containers: Sequence[str]) -> str:
    """Return the names of some containers, and the number of the others."""
    rest = f" and {len(containers) - MOST} more" if len(containers) > MOST else ""
    return ", ".join(containers[:MOST]) + rest


def _configures(engine: Engine, source: str) -> bool:
    """Return true if the role's keys are merged: only where no container of someone else runs by other keys."""
    if engine.origin is None:
        return True
    if engine.own:
        return engine.configured or engine.others == []
    return source not in ("", engine.origin) and engine.others == []


def _kept(engine: Engine) -> str:
    whose = "" if engine.own else " Roundhouse did not install it and keeps its settings."
    return f"Docker {engine.version} ({engine.package}) is kept, with compose {engine.compose}.{whose}"


def _target(engine: Engine, wanted: Wanted) -> str:
    """Return the source to install or upgrade from; empty if the engine is kept or nothing is offered."""
    offered = [
        name for name in ("docker", "distribution") if "refused" not in wanted.platform.get(name, {"refused": ""})
    ]
    first = offered[0] if offered else ""
    explicit = wanted.source if wanted.source in ("docker", "distribution") else ""
    if engine.origin is None:
        return explicit or first
    if explicit and engine.origin not in (explicit, OTHER):
        return explicit
    if not _flaw(engine):
        return ""
    return engine.origin if engine.origin in offered and not _is_old(engine) else explicit or first


def _problem(engine: Engine, wanted: Wanted) -> Problem | None:
    """Return the reason of a refusal, without its remedy."""
    target, flaw = _target(engine, wanted), _flaw(engine)
    if engine.origin is None:
        return _absent(engine, wanted, target)
    if target == engine.origin and not _is_old(engine) and wanted.source != "none":
        return None  # it lacks packages of its own source, which do not touch its containers
    if flaw and (wanted.source == "none" or engine.origin == OTHER or not target or not wanted.replace):
        return flaw
    if not target:
        return None
    setting = f"container_engine_source is {wanted.source}"
    if not wanted.replace:
        named = f"{engine.package} {engine.version}{_runs(engine)}"
        return _made(f"{setting}, which would replace the installed {named}", wanted.source)
    return _offered(wanted, target)


def _absent(engine: Engine, wanted: Wanted, target: str) -> Problem | None:
    """Return the reason why no engine can be installed on a host without one."""
    if wanted.source == "none":
        return _made("container_engine_source is none, and this host has no Docker", "none")
    return _offered(wanted, target) or _rivals(engine, wanted, target)


def _offered(wanted: Wanted, target: str) -> Problem | None:
    """Return the reason why the platform does not offer a source."""
    row, setting = wanted.platform.get(target), f"container_engine_source is {wanted.source}"
    if row is None:
        return _made(f"{setting}, which is not supported on {wanted.platform_name}", wanted.source)
    return _made(f"{setting}: {row['refused']}", wanted.source) if "refused" in row else None


def _flaw(engine: Engine) -> Problem | None:
    """Return the reason why the installed engine cannot run the agents."""
    if engine.origin is None:
        return None
    named = f"Docker {engine.version} ({engine.package}{_runs(engine, ', which runs ')})"
    if not engine.has_unit:
        return _made(f"{named} has no unit docker.service, as one from a snap", str(engine.version))
    if _is_old(engine):
        return _made(f"{named} is older than 25.0, the first release with CDI", str(engine.version))
    if engine.compose is None or not engine.compose.lstrip("v")[:1].isdigit():
        return _made(f"{named} has no compose plugin", "none")
    return None


def _rivals(engine: Engine, wanted: Wanted, target: str) -> Problem | None:
    """Return the problem that other packages are removed by an installation, or prevent it."""
    if "podman-docker" in engine.rivals:
        return _made("The package podman-docker provides the command docker", "podman-docker")
    found = [name for name in engine.rivals if target == "docker"]
    if not found or wanted.replace:
        return None
    return _made(f"Docker's own packages would remove {' and '.join(found)}, which others may use", ", ".join(found))


def _remedies(engine: Engine, wanted: Wanted) -> Iterator[str]:
    """Yield the settings that are not refused on this host, else what to do by hand."""
    tries: list[dict[str, object]] = [{"source": "auto"}, {"source": "docker"}, {"source": "distribution"}]
    tries += [{"replace": True}, {"source": "auto", "replace": True}]
    if wanted.source == "auto" or wanted.replace:
        tries.pop()
    works = [changes for changes in tries if _problem(engine, wanted._replace(**changes)) is None]  # type: ignore[arg-type]
    flaw = _flaw(engine)
    if flaw and (wanted.source in ("auto", "none", engine.origin) or engine.origin == OTHER):
        yield _by_hand(engine)
    elif "podman-docker" in engine.rivals:
        yield "remove it"
    elif engine.origin is None and (not works or wanted.source == "none"):
        yield "install Docker 25.0 or later with its compose plugin"
    for changes in works[:2]:
        given = wanted._replace(**changes)  # type: ignore[arg-type]
        kept = "keep" if engine.origin and not _target(engine, given) else "replace" if engine.origin else "install"
        named = [f"container_engine_{name}: {str(value).lower()}" for name, value in changes.items()]
        yield f"write {' and '.join(named)}" + ("" if kept == "install" else f" to {kept} it")


def _by_hand(engine: Engine) -> str:
    if not engine.has_unit:
        return "remove it (`snap remove docker`)"
    return "upgrade it" if _is_old(engine) else "install its compose plugin"


def _made(what: str, value: str) -> Problem:
    return Problem(what, value, "")


def _runs(engine: Engine, words: str = ", which runs ") -> str:
    return words + named(engine.running) if engine.running else ""


def _is_old(engine: Engine) -> bool:
    return engine.version is not None and major_minor(engine.version) < CDI_SINCE


def _warnings(engine: Engine) -> list[str]:
    if engine.version is None or major_minor(engine.version) >= LOOPBACK_IS_PRIVATE:
        return []
    return [
        f"Docker {engine.version} is older than 28.0: a port that it publishes on 127.0.0.1 can be reached from the "
        "same network segment (moby#45610). Filter in the chain DOCKER-USER, or install a newer engine."
    ]


def _upstream(version: str) -> str:
    return version.rpartition(":")[2].partition("-")[0].partition("+")[0]
