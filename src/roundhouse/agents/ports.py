"""Find the process that listens on a TCP port of this host. This reads /proc and opens no socket."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..host.control_group import unit_of
from . import containers

_PROC = Path("/proc")
_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_ANY_OR_LOOPBACK = (
    "00000000",
    "0100007F",
    "0" * 32,
    "0" * 24 + "01000000",
    "0000000000000000FFFF00000100007F",
)
_DOCKER = "docker.service"
_TRIES = 3


class Holder(NamedTuple):
    """The process behind a port; pid and name are None if /proc does not show them."""

    pid: int | None
    name: str | None
    unit: str | None

    def __str__(self) -> str:
        if self.pid is None:
            return "another process"
        return f"{self.name} (pid {self.pid})" + (f" of {self.unit}" if self.unit else "")


def holder(port: int) -> Holder | None:
    """Return the process that listens on the port at 127.0.0.1 or all addresses; None if the port is free.

    A server that restarts may pass its socket to a process that /proc did not list yet, so the search is repeated.
    """
    found = None
    for _ in range(_TRIES):
        inodes = _listening(port)
        if not inodes:
            return None
        found = _process(inodes)
        if found.pid is not None:
            return _container_behind(found, port)
    return found


def _listening(port: int) -> set[str]:
    """Return the sockets that listen on the port, as the links in /proc/PID/fd name them."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        path = _PROC / "net" / table
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            fields = line.split()
            address, _, hex_port = fields[1].rpartition(":")
            if fields[3] == _LISTEN and int(hex_port, 16) == port and address in _ANY_OR_LOOPBACK:
                inodes.add(f"socket:[{fields[9]}]")
    return inodes


def _container_behind(found: Holder, port: int) -> Holder:
    """Return the container that publishes the port, if Docker listens for it."""
    name = containers.publisher(port) if found.unit == _DOCKER else None
    if name is None:
        return found
    return found._replace(name=name, unit=f"{name}.service" if name.startswith("roundhouse-") else _DOCKER)


def _process(inodes: set[str]) -> Holder:
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if any(str(link.readlink()) in inodes for link in (folder / "fd").iterdir()):
                return Holder(int(folder.name), (folder / "comm").read_text().strip(), unit_of(int(folder.name)))
        except OSError:  # the process ended, or this process may not read it
            continue
    return Holder(None, None, None)
