"""Docker as it is on the host. None means that there is no docker command, or that the engine does not answer."""

from __future__ import annotations

import subprocess

TIMEOUT_SECONDS = 60.0


def running() -> list[str] | None:
    """Return the names of the running containers."""
    return _words(_output("docker", "ps", "--format", "{{.Names}}"))


def contents() -> list[str] | None:
    """Return the names of all containers, running or not, and of all volumes."""
    containers = _words(_output("docker", "ps", "--all", "--format", "{{.Names}}"))
    volumes = _words(_output("docker", "volume", "ls", "--format", "{{.Name}}"))
    return None if containers is None or volumes is None else [*containers, *volumes]


def server_version() -> str | None:
    """Return the version of the running engine."""
    return _output("docker", "version", "--format", "{{.Server.Version}}") or None


def compose_version() -> str | None:
    """Return the version of the compose plugin."""
    return _output("docker", "compose", "version", "--short")


def has_image(reference: str) -> bool:
    """Return whether the engine has the image."""
    return _output("docker", "image", "inspect", "--format", "{{.Id}}", reference) is not None


def data_root() -> str:
    """Return the folder of the engine's images; without an answer, the default of a new engine."""
    return _output("docker", "info", "--format", "{{.DockerRootDir}}") or "/var/lib/docker"


def cdi_devices() -> list[str]:
    """Return NVIDIA's devices that CDI offers; none without the container toolkit or a driver."""
    found = _words(_output("nvidia-ctk", "cdi", "list")) or []
    return [word for word in found if word.startswith("nvidia.com/")]


def _words(output: str | None) -> list[str] | None:
    return None if output is None else output.split()


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
