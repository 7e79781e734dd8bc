"""Inspect the driver, the container engine or the toolkit, and choose the action of its role.

The module roundhouse_component_info does it for a role, and preflight_components.py for all three before the first
change. Each function imports only what it needs, because Ansible compiles a module's imports at each run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..host import gpu, packages, systemctl

Arguments = dict[str, Any]  # as component_options.OPTIONS accepts them
Found = dict[str, Any]


def inspect_driver(settings: Arguments, answer: gpu.Answer | None = None, root: Path = Path("/")) -> Found:
    """Return the driver's state and the action for the settings of the role nvidia_driver.

    `answer` is NVML's, which is queried without it.
    """
    from ..host import dnf, driver, driver_install, driver_settings

    facts, installed = driver.inspect(root, gpu.state() if answer is None else answer), packages.installed()
    wanted = driver_settings.Wanted(**{**settings, "platform": settings["platform"] or None})
    asked = driver_install.questions(facts, wanted, installed)
    candidates = packages.candidates(asked) if asked else None
    choice = driver_install.choose(facts, wanted, installed, driver_install.read_ours(), candidates)
    persistent = choice.managed and systemctl.is_on("nvidia-persistenced.service")
    return {
        "driver": driver.state(facts)._asdict(),
        "choice": _as_dict(choice),
        "broken": installed.broken,
        "settled": driver_install.settled(choice, facts, installed, persistent=persistent)
        and dnf.has_stream(choice.stream),
        "users": systemctl.active("roundhouse-*.service", "nvidia-persistenced.service") if choice.upgrade else [],
        "facts": facts._asdict(),
    }


def inspect_engine(settings: Arguments) -> Found:
    """Return the container engine and the action for the settings of the role container_engine."""
    from ..host import container_engine

    installed, wanted = packages.installed(), container_engine.Wanted(**settings)
    # On a native host the role ignores an installed engine.
    engine = container_engine.Engine() if wanted.runtime == "native" else container_engine.inspect(installed)
    return {
        "engine": engine._asdict(),
        "on": engine.package is not None and systemctl.is_on("docker.service"),
        "choice": _as_dict(container_engine.choose(engine, installed, wanted)),
    }


def inspect_toolkit(settings: Arguments, *, engine_changes: bool = False) -> Found:
    """Return the container toolkit and the action for the settings of the role nvidia_container_toolkit.

    If the role container_engine will install or upgrade the engine, the installed one does not count.
    """
    from ..host import container_engine, container_toolkit

    installed, wanted = packages.installed(), container_toolkit.Wanted(**settings)
    native = wanted.runtime == "native"
    engine = container_engine.Engine() if native or engine_changes else container_engine.inspect(installed)
    toolkit = container_toolkit.Toolkit() if native else container_toolkit.inspect(installed)
    return {"toolkit": toolkit._asdict(), "choice": _as_dict(container_toolkit.choose(engine, toolkit, wanted))}


def _as_dict(choice: Any) -> dict[str, Any]:
    return {**choice._asdict(), "problems": [problem._asdict() for problem in choice.problems]}


INSPECTIONS: dict[str, Callable[[Arguments], Found]] = {
    "driver": inspect_driver,
    "engine": inspect_engine,
    "toolkit": inspect_toolkit,
}
