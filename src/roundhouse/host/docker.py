"""Docker as it is on the host. None means that there is no docker command, or that the engine does not answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..util import process

if TYPE_CHECKING:
    from roundhouse.schema.facts import MeansFacts  # absolute, so that Ansible does not ship it with modules


def output(*arguments: str) -> str | None:
    """Return what the docker command prints."""
    return process.output("docker", *arguments)


def running() -> list[str] | None:
    """Return the names of the running containers."""
    return _words(output("ps", "--format", "{{.Names}}"))


def contents() -> list[str] | None:
    """Return the names of all containers, running or not, and of all volumes."""
    containers = _words(output("ps", "--all", "--format", "{{.Names}}"))
    volumes = _words(output("volume", "ls", "--format", "{{.Name}}"))
    return None if containers is None or volumes is None else [*containers, *volumes]


def server_version() -> str | None:
    """Return the version of the running engine."""
    return output("version", "--format", "{{.Server.Version}}") or None


def compose_version() -> str | None:
    """Return the version of the compose plugin."""
    return output("compose", "version", "--short")


def has_image(reference: str) -> bool:
    """Return whether the engine has the image."""
    return output("image", "inspect", "--format", "{{.Id}}", reference) is not None


def data_root() -> str:
    """Return the folder of the engine's images; without an answer, the default of a new engine."""
    return output("info", "--format", "{{.DockerRootDir}}") or "/var/lib/docker"


def cdi_devices() -> list[str]:
    """Return NVIDIA's devices that CDI offers; none without the container toolkit or a driver."""
    found = _words(process.output("nvidia-ctk", "cdi", "list")) or []
    return [word for word in found if word.startswith("nvidia.com/")]


def means() -> MeansFacts:
    """Return the fields of plan/compose.Means that only the host knows, empty where no engine answers."""
    said = output("info", "--format", "{{json .}}")
    known = json.loads(said) if said else {}
    return {
        # The engine reads specifications only where CDI is on: opt-in before Docker 28.2.
        "cdi": cdi_devices() if known.get("CDISpecDirs") else [],
        "runtimes": sorted(known.get("Runtimes") or {}),
        "open_files": _open_files(),
    }


def _words(output: str | None) -> list[str] | None:
    return None if output is None else output.split()


def _open_files() -> int | None:
    """Return how many files a process of the host may have open at most: Docker refuses what asks for more."""
    try:
        match = re.search(r"^Max open files +\d+ +(\d+)", Path("/proc/1/limits").read_text(), re.MULTILINE)
    except OSError:  # only root may read it
        return None
    return int(match[1]) if match else None
