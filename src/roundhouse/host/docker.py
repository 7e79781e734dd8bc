"""Docker as it is on the host. None means that there is no docker command, or that the engine does not answer."""

from __future__ import annotations

from ..util import process


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


def _words(output: str | None) -> list[str] | None:
    return None if output is None else output.split()
