"""Ask the decision functions of the roles for driver, container engine and toolkit, for the preflight table.

The roles ask them again before they act, so every refusal of these roles is a finding before the first change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RoundhouseError
from ..host import apt, docker_config, dpkg, gpu, packages
from . import component_info
from .component_info import Arguments, Found
from .preflight_row import Row

NAMES = {"driver": "driver", "engine": "container engine", "toolkit": "container toolkit"}
UNSUPPORTED = "The role does not support this system."
_ANY = "any"  # the source of a role whose packages have only one

Sources = Mapping[str, Mapping[str, str]]  # source of packages -> the fields of its repository


class Asked(NamedTuple):
    """The settings of each role by component, and the apt repositories that it adds by component and source.

    component_options.OPTIONS has the settings. A component without settings has no row. A repository has the fields of
    apt.Source.
    """

    settings: Mapping[str, Arguments | None]
    apt_sources: Mapping[str, Sources]


def rows(asked: Asked, answer: gpu.Answer, *, supported: bool = True, root: Path = Path("/")) -> list[Row]:
    """Return the row of each component; `answer` is NVML's.

    On a system that is not `supported`, the roles are not asked.
    """
    components = [(name, given) for name, given in asked.settings.items() if given is not None]
    if not supported:
        return [Row(NAMES[name], "not inspected", action="skip", reason=UNSUPPORTED) for name, _ in components]
    installed = packages.installed()
    results: dict[str, Found] = {}
    for name, given in components:
        results[name] = _inspect(name, given, answer, root, results)
    return [_row(name, given, results[name], asked.apt_sources.get(name, {}), installed) for name, given in components]


def _inspect(name: str, settings: Arguments, answer: gpu.Answer, root: Path, before: Mapping[str, Found]) -> Found:
    """Return the component's decision, after those of the roles that run before its own role."""
    if name == "driver":
        return component_info.inspect_driver(settings, answer, root)
    if name == "toolkit":
        engine = before["engine"]["choice"] if "engine" in before else {}
        changes = engine.get("action") in ("install", "upgrade") and bool(engine.get("missing"))
        return component_info.inspect_toolkit(settings, engine_changes=changes)
    return component_info.inspect_engine(settings)


def _row(name: str, settings: Arguments, found: Found, sources: Sources, packages: dpkg.Packages) -> Row:
    choice, problems = found["choice"], _problems(name, found)
    action, source = choice["action"], choice.get("source")
    # A role also reads the repository of a component that it installed before.
    if packages.manager == dpkg.APT and (action in ("install", "upgrade") or (action == "keep" and source)):
        problems += _conflicts(sources, source or settings.get("source", _ANY))
    if action not in ("skip", "refuse") and name == "engine":
        problems += _daemon_problems()
    described, warnings = _DESCRIPTIONS[name](found, packages), choice.get("warnings", ())
    if problems:
        return Row(NAMES[name], described, problems, warnings, "refuse")
    return Row(NAMES[name], described, (), warnings, action, choice["sentence"])


def _problems(name: str, found: Found) -> list[str]:
    """Return the sentences of a refusal. A host without a card has this problem in the row of the cards."""
    no_card = name == "driver" and found["driver"]["state"] == "no_gpu"
    refused = found["choice"]["action"] == "refuse" and not no_card
    return str(found["choice"]["sentence"]).splitlines() if refused else []


def _conflicts(sources: Sources, source: str) -> list[str]:
    """Return the problem of an apt repository that the role would add, as the role's task would report it."""
    given = sources.get(source) or sources.get(_ANY)
    try:
        if given:
            apt.existing(apt.Source(**given))
    except RoundhouseError as error:
        return [error.message]
    return []


def _daemon_problems() -> list[str]:
    """Return the problem of a daemon.json that the roles cannot merge their keys into."""
    try:
        docker_config.parse(docker_config.PATH.read_text() if docker_config.PATH.exists() else "")
    except RoundhouseError as error:
        return [error.message]
    return []


def _driver(found: Found, packages: dpkg.Packages) -> str:
    state, loaded = found["driver"]["state"], found["facts"]["loaded"]
    if loaded:
        return f"{loaded}, {state}"
    installed = [f"{name} {packages.versions[name]}" for name in packages.drivers]
    return ", ".join([state, *installed[:1]])


def _engine(found: Found, packages: dpkg.Packages) -> str:
    engine: dict[str, Any] = found["engine"]
    if not engine["package"]:
        return "none"
    compose = f", compose {engine['compose']}" if engine["compose"] else ""
    return f"{engine['package']} {engine['version']}{compose}"


def _toolkit(found: Found, packages: dpkg.Packages) -> str:
    return str(found["toolkit"]["release"] or "none")


_DESCRIPTIONS: dict[str, Callable[[Found, dpkg.Packages], str]] = {
    "driver": _driver,
    "engine": _engine,
    "toolkit": _toolkit,
}
