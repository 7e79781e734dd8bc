"""What the roles of a GPU host ask of it, as the module roundhouse_host_info tells it: a look changes nothing.

Each look imports its own parts alone: what travels in an Ansible module is compiled at each of its runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import packages, units


def of_driver(settings: dict[str, Any]) -> dict[str, Any]:
    """Look at the driver, for the settings of the role nvidia_driver."""
    from . import driver, driver_choice, driver_refusals, nvml

    seen, there = driver.see(answer=nvml.state()), packages.installed()
    wanted = driver_refusals.Wanted(**{**settings, "platform": settings["platform"] or None})
    choice = driver_choice.choose(seen, wanted, there, driver_choice.read_ours())
    persistent = choice.action == "install" and units.is_on("nvidia-persistenced.service")
    return {
        "driver": driver.state(seen)._asdict(),
        "choice": choice._asdict(),
        "broken": there.broken,
        "settled": driver_choice.settled(choice, seen, there, persistent=persistent),
        "users": units.active("roundhouse-*.service", "nvidia-persistenced.service") if choice.upgrade else [],
        "seen": seen._asdict(),
    }


def of_engine(settings: dict[str, Any]) -> dict[str, Any]:
    """Look at the container engine, for the settings of the role container_engine."""
    from . import container_engine

    there, wanted = packages.installed(), container_engine.Wanted(**settings)
    # A native host's engine is nobody's concern here.
    found = container_engine.NONE if wanted.runtime == "native" else container_engine.see(there)
    return {
        "engine": found._asdict(),
        "on": found.package is not None and units.is_on("docker.service"),
        "choice": container_engine.choose(found, there, wanted)._asdict(),
    }


def of_toolkit(settings: dict[str, Any]) -> dict[str, Any]:
    """Look at the container toolkit, for the settings of the role nvidia_container_toolkit."""
    from . import container_engine, container_toolkit

    there = packages.installed()
    version = None if settings["runtime"] == "native" else container_engine.version(there)
    return {"choice": container_toolkit.choose(version, there, **settings)._asdict()}


LOOKS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "driver": of_driver,
    "engine": of_engine,
    "toolkit": of_toolkit,
}
