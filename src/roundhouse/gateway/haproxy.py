"""The gateway's routes and loads: which agents get requests, and how many each has.

The routes follow from units, journal and disk (announced.py). HAProxy reads their file when it starts, so a gateway
that was down or is reloaded has the same routes. A switch works without a gateway.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RoundhouseError
from ..state import serving as state_serving
from ..state.note import Report
from ..util import files, lock
from . import announced
from .scheduler import Load

if TYPE_CHECKING:  # absolute, so that Ansible does not ship them with modules
    from roundhouse.schema.plan import Plan


UNIT = "roundhouse-gateway.service"
RUNTIME = "/run/roundhouse-gateway"
_TIMEOUT_SECONDS = 2.0
_POLL_SECONDS = 0.05
_LOCK_SECONDS = 10.0  # more than a publication takes if HAProxy's sockets time out


def routes_path() -> Path:
    """Return the file of the routes, one line for each agent; roles/gateway/files/hold.lua describes them."""
    return state_serving.FOLDER / "gateway.map"


def publish_routes(plan: Plan, report: Report, held: Collection[str] = ()) -> None:
    """Tell the gateway which agents get requests, which may get them soon, and which do not.

    A gateway that does not run reads the file when it starts. A file that cannot be written is only reported, because
    a switch must not fail for the gateway's sake. Requests of `held` agents wait.
    """
    if plan.get("gateway_port") is None:
        return
    with _one_at_a_time(report):
        lines = announced.routes(plan, held)
        try:
            files.write(routes_path(), _text(lines), durable=False)
        except OSError as error:
            report(f"the gateway's file {routes_path()} was not updated: {error.strerror}")
        if problem := send([f"set map {routes_path()} {name} {line}" for name, line in lines.items()]):
            report(problem)


def is_current(plan: Plan) -> bool:
    """Return whether the gateway announces what follows from the host's state, in its file and in each worker."""
    if plan.get("gateway_port") is None:
        return True
    lines = announced.routes(plan)
    try:
        if routes_path().read_text() != _text(lines):
            return False
        answers = ask_workers([f"show map {routes_path()}"])
    except OSError as error:  # no file yet; a gateway that does not run reads it when it starts
        return not isinstance(error, FileNotFoundError) or routes_path().exists()
    rows = [[line.split()[1:] for line in text.splitlines() if line.startswith("0x")] for text in answers]
    # An old worker, which finishes its streams after a reload, may lack new agents.
    return all(lines.get(name, line) == line for worker in rows for name, line in (row[:2] for row in worker))


def _text(lines: dict[str, str]) -> str:
    return "".join(f"{name} {line}\n" for name, line in lines.items())


@contextmanager
def _one_at_a_time(report: Report) -> Iterator[None]:
    """Let one process at a time derive and publish the routes, so that the newest state is published last.

    A process that is stopped while it holds this must not block a switch, so the wait is bounded.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.exclusive(routes_path().with_suffix(".lock"), _LOCK_SECONDS))
        except (OSError, RoundhouseError) as error:
            report(f"the gateway's routes were not locked: {error}")
        yield


def send(commands: list[str]) -> str | None:
    """Send commands to all of HAProxy's workers, including old ones that finish their streams after a reload.

    Return why that failed, None for success. A gateway that does not run reads the files when it starts.
    """
    try:
        ask_workers(commands)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        return f"HAProxy did not accept the new state ({error.strerror or error}). Run `systemctl reload {UNIT}`"
    return None


def ask_workers(commands: list[str]) -> list[str]:
    """Return each worker's answer to the commands. Raises OSError where HAProxy does not run."""
    return [_ask("; ".join(f"@!{worker} {command}" for command in commands)) for worker in list(_workers())]


def _workers() -> Iterator[int]:
    for line in _ask("show proc").splitlines():
        fields = line.split()
        if len(fields) > 1 and fields[1] == "worker":
            yield int(fields[0])


def _ask(command: str) -> str:
    """Return the answer of HAProxy's master. Just after it started a worker it may refuse or close a connection."""
    end = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            return _exchange(command)
        except ConnectionError:
            if time.monotonic() >= end:
                raise
            time.sleep(_POLL_SECONDS)


def _exchange(command: str) -> str:
    with socket.socket(socket.AF_UNIX) as master:
        master.settimeout(_TIMEOUT_SECONDS)
        master.connect(f"{RUNTIME}/master.sock")
        master.sendall(f"{command}\n".encode())
        master.shutdown(socket.SHUT_WR)  # it answers once it knows that no command follows
        answer = b""
        while part := master.recv(65536):
            answer += part
    return answer.decode(errors="replace")


def cut_streams(agent: str, cause: str) -> bool:
    """End the agent's streams, each with an event that names the cause, and return whether a gateway accepted it.

    HAProxy ends a stream with its next token, so give it a moment before the engine is killed.
    """
    try:
        return bool(ask_workers([f"roundhouse cut {agent} {cause}"]))
    except OSError:  # then the connections break
        return False


def ended_streams(agent: str) -> int:
    """Return the number of streams that HAProxy has ended since the last cut of that agent."""
    try:
        answers = ask_workers([f"roundhouse told {agent}"])
    except OSError:
        return 0
    return sum(int(line.split()[1]) for text in answers for line in text.splitlines() if line.startswith("told "))


_HEAD = "# pxname,"
# An agent's second backend, for its streams (roles/gateway/templates/engines.j2).
_STREAMS = "STREAM-"
# A line of `roundhouse waiting`. A line of another form counts nothing, and must not end the control service.
_WAITING = re.compile(r"waiting (?P<agent>[^\s]+) (?P<number>\d{1,9}) (?P<ms>\d{1,15})")


def read(names: list[str]) -> dict[str, Load] | None:
    """Return the loads by the agents' names, None where the gateway does not run."""
    try:
        answers = ask_workers(["show stat -1 2 -1", "roundhouse waiting"])
    except OSError:
        return None
    found = dict.fromkeys(names, Load())
    for text in answers:
        for name, load in _of_worker(text).items():
            if name in found:
                found[name] = _sum(found[name], load)
    return found


def _of_worker(text: str) -> dict[str, Load]:
    found: dict[str, Load] = {}
    columns: list[str] = []
    for line in text.splitlines():
        if line.startswith(_HEAD):
            columns = line.removeprefix("# ").split(",")
        elif waits := _WAITING.fullmatch(line):
            name, seconds = waits["agent"], int(waits["ms"]) / 1000
            found[name] = found.get(name, Load())._replace(waiting=int(waits["number"]), oldest_seconds=seconds)
        elif columns and "," in line:
            row = dict(zip(columns, line.split(",")))
            name = row["pxname"].removeprefix(_STREAMS)
            found[name] = _sum(found.get(name, Load()), Load(running=int(row["scur"]), total=int(row["stot"])))
    return found


def _sum(one: Load, other: Load) -> Load:
    return Load(
        waiting=one.waiting + other.waiting,
        oldest_seconds=max(one.oldest_seconds, other.oldest_seconds),
        running=one.running + other.running,
        total=one.total + other.total,
    )
