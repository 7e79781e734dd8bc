"""Docker as it is on the host: what it offers, who publishes a port, and what lost engines left behind."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from ..errors import RoundhouseError
from ..host import docker
from ..plan import compose
from ..plan.deployed import Agent

_SECONDS = 60.0


def means() -> dict[str, Any]:
    """Return the fields of compose.Means that only the host knows, empty where no engine answers."""
    said = _docker("info", "--format", "{{json .}}")
    known = json.loads(said) if said else {}
    return {
        # The engine reads specifications only where CDI is on: opt-in before Docker 28.2.
        "cdi": docker.cdi_devices() if known.get("CDISpecDirs") else [],
        "runtimes": sorted(known.get("Runtimes") or {}),
        "open_files": _open_files(),
    }


def publisher(port: int) -> str | None:
    """Return the name of the container that publishes a port of the host, None for none."""
    names = (_docker("ps", "--filter", f"publish={port}", "--format", "{{.Names}}") or "").split()
    return names[0] if names else None


def clear(agent: Agent) -> list[str]:
    """Take away what is in the way of an agent's container: its namesake, and what lost engines left on its cards.

    systemd has stopped every rival by then, so a container on one of these cards is nobody's any more. Returns names.
    Raises RoundhouseError where Docker does not answer.
    """
    wanted = [f"name=^/?{compose.container(agent['name'])}$"]
    wanted += [f"label={compose.CARD_LABEL}.{number}" for number in agent["gpus"]]
    names = [name for each in wanted for name in _listed(each)]
    for name in dict.fromkeys(names):
        if _docker("rm", "--force", "--volumes", name) is None:
            raise RoundhouseError("container", f"the container {name} is in the way: docker rm --force {name}.")
    return list(dict.fromkeys(names))


def _listed(wanted: str) -> list[str]:
    said = _docker("ps", "--all", "--filter", wanted, "--format", "{{.Names}}")
    if said is None:
        raise RoundhouseError("container", "Docker does not answer: see `journalctl --unit docker`.")
    return said.split()


def _open_files(init: Path = Path("/proc/1/limits")) -> int | None:
    """Return how many files a process of the host may have open at most: Docker refuses what asks for more."""
    try:
        match = re.search(r"^Max open files +\d+ +(\d+)", init.read_text(), re.MULTILINE)
    except OSError:  # not root's to ask
        return None
    return int(match[1]) if match else None


def _docker(*arguments: str) -> str | None:
    """Return what docker said, None where it is not there, failed, or did not answer."""
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
