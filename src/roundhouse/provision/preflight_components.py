"""Ask the decision functions of the roles for driver, container engine and toolkit, for the preflight table.

The roles ask them again before they act, so every refusal of these roles is a finding before the first change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..host import dpkg, gpu
from . import component_info
from .component_info import Arguments, Found
from .preflight_row import Row

NAMES = {"driver": "driver", "engine": "container engine", "toolkit": "container toolkit"}
UNSUPPORTED = "The role does not support this system."


def rows(
    settings: Mapping[str, Arguments | None], answer: gpu.Answer, *, supported: bool = True, root: Path = Path("/")
) -> list[Row]:
    """Return the row of each component. `settings` are those of its role, as OPTIONS of component_info accepts them.

    `answer` is NVML's. On a system that is not `supported`, the roles are not asked.
    """
    asked = [(name, given) for name, given in settings.items() if given is not None]
    if not supported:
        return [Row(NAMES[name], "not inspected", action="skip", reason=UNSUPPORTED) for name, _ in asked]
    packages = dpkg.installed()
    return [_row(name, _inspect(name, given, answer, root), packages) for name, given in asked]


def _inspect(name: str, settings: Arguments, answer: gpu.Answer, root: Path) -> Found:
    if name == "driver":
        return component_info.inspect_driver(settings, answer, root)
    return component_info.INSPECTIONS[name](settings)


def _row(name: str, found: Found, packages: dpkg.Packages) -> Row:
    choice, described = found["choice"], _DESCRIPTIONS[name](found, packages)
    sentence, warnings = choice["sentence"], list(choice.get("warnings", ()))
    if choice["action"] == "refuse":
        return Row(NAMES[name], described, sentence.splitlines(), warnings, "refuse")
    return Row(NAMES[name], described, (), warnings, choice["action"], sentence)


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
    return packages.versions.get("nvidia-container-toolkit", "none")


_DESCRIPTIONS: dict[str, Callable[[Found, dpkg.Packages], str]] = {
    "driver": _driver,
    "engine": _engine,
    "toolkit": _toolkit,
}
