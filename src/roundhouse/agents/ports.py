"""Find the process that listens on a TCP port of this host. This reads /proc and opens no socket."""

from __future__ import annotations

import pwd
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
    """The process behind a port; pid, name and unit are None if this process may not read them."""

    pid: int | None
    name: str | None
    unit: str | None
    account: str

    def __str__(self) -> str:
        if self.pid is None:
            return f"a process of {self.account}"
        return f"{self.name} (pid {self.pid})" + (f" of {self.unit}" if self.unit else "")


def holder(port: int) -> Holder | None:
    """Return the process that listens on the port at 127.0.0.1 or all addresses; None if the port is free.

    A server that restarts may pass its socket to a process that /proc did not list yet, so the search is repeated.
    """
    found = None
    for _ in range(_TRIES):
        accounts = _listening(port)
        if not accounts:
            return None
        found = _process(accounts)
        if found.pid is not None:
            return _container_behind(found, port)
    return found


def _listening(port: int) -> dict[str, str]:
    """Return the accounts by the sockets that listen on the port, as the links in /proc/PID/fd name them."""
    accounts = {}
    for table in ("tcp", "tcp6"):
        path = _PROC / "net" / table
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            fields = line.split()
            address, _, hex_port = fields[1].rpartition(":")
            if fields[3] == _LISTEN and int(hex_port, 16) == port and address in _ANY_OR_LOOPBACK:
                accounts[f"socket:[{fields[9]}]"] = _account(int(fields[7]))
    return accounts


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # for example of a container
        return f"uid {uid}"


def _container_behind(found: Holder, port: int) -> Holder:
    """Return the container that publishes the port, if Docker listens for it."""
    name = containers.publisher(port) if found.unit == _DOCKER else None
    if name is None:
        return found
    return found._replace(name=name, unit=f"{name}.service" if name.startswith("roundhouse-") else _DOCKER)


def _process(accounts: dict[str, str]) -> Holder:
    """Return the process of one of the sockets.

    Root without CAP_SYS_PTRACE, as in the services' sandbox, cannot read the sockets of other accounts' processes.
    """
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            for link in (folder / "fd").iterdir():
                if account := accounts.get(str(link.readlink())):
                    name = (folder / "comm").read_text().strip()
                    return Holder(int(folder.name), name, unit_of(int(folder.name)), account)
        except OSError:  # the process ended, or this process may not read it
            continue
    return Holder(None, None, None, next(iter(accounts.values())))
