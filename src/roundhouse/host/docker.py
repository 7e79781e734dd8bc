"""Query Docker on the host. None means that the docker command is missing or the engine does not answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..util import process
from ..util.units import GIB

if TYPE_CHECKING:
    from roundhouse.schema.facts import MeansFacts  # absolute, so that Ansible does not ship it with modules


def output(*arguments: str) -> str | None:
    """Return the output of the docker command."""
    return process.output("docker", *arguments)


def info() -> dict[str, Any]:
    """Return the running engine's description of itself; {} if it does not answer."""
    answer = output("info", "--format", "{{json .}}")
    found: dict[str, Any] = json.loads(answer) if answer else {}
    return found if found.get("ServerVersion") else {}


def containers() -> dict[str, bool] | None:
    """Return all containers by name; the value is true if the container runs."""
    found = output("ps", "--all", "--format", "{{.Names}}\t{{.Status}}")
    if found is None:
        return None
    rows = (line.partition("\t") for line in found.splitlines())
    return {name: status.startswith("Up") for name, _, status in rows}


def strangers() -> list[str]:
    """Return the names of running containers that Roundhouse did not create."""
    found = containers() or {}
    return [name for name, runs in found.items() if runs and not name.startswith("roundhouse-")]


def contents() -> list[str] | None:
    """Return the names of all containers, running or not, and of all volumes."""
    containers = _words(output("ps", "--all", "--format", "{{.Names}}"))
    volumes = _words(output("volume", "ls", "--format", "{{.Name}}"))
    return None if containers is None or volumes is None else [*containers, *volumes]


def compose_version() -> str | None:
    """Return the version of the compose plugin."""
    return output("compose", "version", "--short")


def has_image(reference: str) -> bool:
    """Return true if the engine has the image."""
    return output("image", "inspect", "--format", "{{.Id}}", reference) is not None


def data_root() -> str:
    """Return the folder of the engine's images; Docker's default if the engine does not answer."""
    return output("info", "--format", "{{.DockerRootDir}}") or "/var/lib/docker"


def cdi_devices() -> list[str]:
    """Return the names of CDI's NVIDIA devices; [] without the container toolkit or a driver."""
    found = _words(process.output("nvidia-ctk", "cdi", "list")) or []
    return [word for word in found if word.startswith("nvidia.com/")]


def means() -> MeansFacts:
    """Return the host's values of plan/compose.Means; they are empty if no engine answers."""
    found = info()
    return {
        # The engine reads CDI specifications only if CDI is enabled, which was not the default before Docker 28.2.
        "cdi": cdi_devices() if found.get("CDISpecDirs") else [],
        "runtimes": sorted(found.get("Runtimes") or {}),
        "open_files": _open_files(),
        "labels": any("name=selinux" in option for option in found.get("SecurityOptions") or []),
        "memory_gib": found["MemTotal"] // GIB if found.get("MemTotal") else None,
    }


def _words(output: str | None) -> list[str] | None:
    return None if output is None else output.split()


def _open_files() -> int | None:
    """Return the host's hard limit of open files per process: Docker refuses a higher one. None if unreadable."""
    try:
        match = re.search(r"^Max open files +\d+ +(\d+)", Path("/proc/1/limits").read_text(), re.MULTILINE)
    except OSError:  # only root may read it
        return None
    return int(match[1]) if match else None
