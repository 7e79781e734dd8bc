"""Query Docker's containers: the one that publishes a port, and those that crashed engines left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import RoundhouseError
from ..host import docker
from ..plan import compose

if TYPE_CHECKING:  # absolute, so that Ansible does not ship them with modules
    from roundhouse.schema.plan import Agent


def publisher(port: int) -> str | None:
    """Return the name of the container that publishes a port of the host, None without one."""
    names = (docker.output("ps", "--filter", f"publish={port}", "--format", "{{.Names}}") or "").split()
    return names[0] if names else None


def clear(agent: Agent) -> list[str]:
    """Remove containers that block an agent's, and return their names: its namesake, and leftovers on its GPUs.

    systemd has stopped every rival by then, so a container on one of these GPUs belongs to a crashed engine. Raises
    RoundhouseError if Docker does not answer.
    """
    wanted = [f"name=^/?{compose.container(agent['name'])}$"]
    # An earlier version labelled containers with numbers.
    cards = dict.fromkeys([*compose.devices(agent), *agent["gpus"]])
    wanted += [f"label={compose.CARD_LABEL}.{card}" for card in cards]
    names = [name for each in wanted for name in _listed(each)]
    for name in dict.fromkeys(names):
        if docker.output("rm", "--force", "--volumes", name) is None:
            text, remedy = "The container {container} blocks {agent}.", "Remove it: `docker rm --force {container}`."
            raise RoundhouseError("container_blocks", text, remedy, container=name, agent=agent["name"])
    return list(dict.fromkeys(names))


def _listed(wanted: str) -> list[str]:
    said = docker.output("ps", "--all", "--filter", wanted, "--format", "{{.Names}}")
    if said is None:
        raise RoundhouseError("docker_unreachable", "Docker does not answer.", "Read `journalctl --unit docker`.")
    return said.split()
