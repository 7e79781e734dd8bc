"""Inspect the driver, the container engine or the toolkit, for the module roundhouse_component_info.

Each function imports only what it needs, because Ansible compiles a module's imports at each run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..host import dpkg, systemctl

Arguments = dict[str, Any]  # as the module's argument_spec accepts them
Found = dict[str, object]


def inspect_driver(settings: Arguments) -> Found:
    """Return the driver's state and the action for the settings of the role nvidia_driver."""
    from ..host import driver, driver_install, gpu

    facts, installed = driver.inspect(answer=gpu.state()), dpkg.installed()
    wanted = driver_install.Wanted(**{**settings, "platform": settings["platform"] or None})
    choice = driver_install.choose(facts, wanted, installed, driver_install.read_ours())
    persistent = choice.action == "install" and systemctl.is_on("nvidia-persistenced.service")
    return {
        "driver": driver.state(facts)._asdict(),
        "choice": choice._asdict(),
        "broken": installed.broken,
        "settled": driver_install.settled(choice, facts, installed, persistent=persistent),
        "users": systemctl.active("roundhouse-*.service", "nvidia-persistenced.service") if choice.upgrade else [],
        "facts": facts._asdict(),
    }


def inspect_engine(settings: Arguments) -> Found:
    """Return the container engine and the action for the settings of the role container_engine."""
    from ..host import container_engine

    installed, wanted = dpkg.installed(), container_engine.Wanted(**settings)
    # On a native host the role ignores an installed engine.
    engine = container_engine.Engine() if wanted.runtime == "native" else container_engine.inspect(installed)
    return {
        "engine": engine._asdict(),
        "on": engine.package is not None and systemctl.is_on("docker.service"),
        "choice": _as_dict(container_engine.choose(engine, installed, wanted)),
    }


def inspect_toolkit(settings: Arguments, *, engine_changes: bool = False) -> Found:
    """Return the action for the settings of the role nvidia_container_toolkit.

    If the role container_engine will install or upgrade the engine, the installed one does not count.
    """
    from ..host import container_engine, container_toolkit

    installed, wanted = dpkg.installed(), container_toolkit.Wanted(**settings)
    native = wanted.runtime == "native"
    engine = container_engine.Engine() if native or engine_changes else container_engine.inspect(installed)
    toolkit = container_toolkit.Toolkit() if native else container_toolkit.inspect(installed)
    return {"choice": _as_dict(container_toolkit.choose(engine, toolkit, wanted))}


def _as_dict(choice: Any) -> dict[str, Any]:
    return {**choice._asdict(), "problems": [problem._asdict() for problem in choice.problems]}


INSPECTIONS: dict[str, Callable[[Arguments], Found]] = {
    "driver": inspect_driver,
    "engine": inspect_engine,
    "toolkit": inspect_toolkit,
}
