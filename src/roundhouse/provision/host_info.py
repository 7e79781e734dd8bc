"""What the roles of a GPU host ask of it, as the module roundhouse_host_info tells it: a look changes nothing.

Each look imports its own parts alone: what travels in an Ansible module is compiled at each of its runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..host import packages, systemd


def of_driver(settings: dict[str, Any]) -> dict[str, Any]:
    """Look at the driver, for the settings of the role nvidia_driver."""
    from ..host import driver, driver_install, gpu

    seen, there = driver.see(answer=gpu.state()), packages.installed()
    wanted = driver_install.Wanted(**{**settings, "platform": settings["platform"] or None})
    choice = driver_install.choose(seen, wanted, there, driver_install.read_ours())
    persistent = choice.action == "install" and systemd.is_on("nvidia-persistenced.service")
    return {
        "driver": driver.state(seen)._asdict(),
        "choice": choice._asdict(),
        "broken": there.broken,
        "settled": driver_install.settled(choice, seen, there, persistent=persistent),
        "users": systemd.active("roundhouse-*.service", "nvidia-persistenced.service") if choice.upgrade else [],
        "seen": seen._asdict(),
    }


def of_engine(settings: dict[str, Any]) -> dict[str, Any]:
    """Look at the container engine, for the settings of the role container_engine."""
    from ..host import docker

    there, wanted = packages.installed(), docker.Wanted(**settings)
    # A native host's engine is nobody's concern here.
    found = docker.NONE if wanted.runtime == "native" else docker.see(there)
    return {
        "engine": found._asdict(),
        "on": found.package is not None and systemd.is_on("docker.service"),
        "choice": docker.choose(found, there, wanted)._asdict(),
    }


def of_toolkit(settings: dict[str, Any]) -> dict[str, Any]:
    """Look at the container toolkit, for the settings of the role nvidia_container_toolkit."""
    from ..host import container_toolkit, docker

    there = packages.installed()
    version = None if settings["runtime"] == "native" else docker.version(there)
    return {"choice": container_toolkit.choose(version, there, **settings)._asdict()}


LOOKS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "driver": of_driver,
    "engine": of_engine,
    "toolkit": of_toolkit,
}
