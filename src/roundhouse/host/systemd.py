"""Read the state of systemd units, start and stop them. No other module starts or stops units."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import RoundhouseError
from ..util import process
from ..util.pairs import pairs
from . import systemctl

# systemd's ActiveState -> the state of an agent. "reloading" does not occur, because the units have no reload.
STATES = {
    "inactive": "stopped",
    "activating": "starting",
    "active": "ready",
    "deactivating": "draining",
    "failed": "failed",
}


NOT_LOADED = "unit_not_loaded"  # the code of the error for a unit that systemd does not know
FOLDER = "/etc/systemd/system"  # where the units are written


class Unit(NamedTuple):
    """The state of one unit at one moment, as systemd reports it."""

    state: str  # a value of STATES
    restarting: bool  # the process ended and systemd waits before it starts it again
    restarts: int
    exit_status: int | None
    result: str
    since: str | None  # local time, as systemd prints it
    main_pid: int | None
    started_monotonic_usec: int
    pending: bool  # a start or stop is queued. A start that waits for another unit's stop has the state stopped.
    invocation: str | None  # the ID of this start in the journal


_PROPERTIES = (
    "ActiveState,SubState,NRestarts,ExecMainStatus,ExecMainCode,Result,ActiveEnterTimestamp,"
    "ExecMainStartTimestampMonotonic,MainPID,Job,LoadState,InvocationID"
)


def show(name: str) -> Unit:
    """Return the state of a unit. Raises RoundhouseError if systemd has not loaded it.

    A running unit has a state even if its file was removed, because it can still be stopped.
    """
    (found,) = show_all([name])
    if isinstance(found, RoundhouseError):
        raise found
    return found


def show_all(names: list[str]) -> list[Unit | RoundhouseError]:
    """Return the state of each unit, or the error that `show` would raise, in order and by one call of systemctl."""
    if not names:
        return []
    output = systemctl.call("show", "--property", _PROPERTIES, *names)
    return [_unit(name, block) for name, block in pairs(names, output.split("\n\n"))]


def _unit(name: str, block: str) -> Unit | RoundhouseError:
    values = systemctl.values(block)
    if values.get("LoadState") != "loaded" and values.get("ActiveState") in (None, "inactive", "failed"):
        return RoundhouseError(
            NOT_LOADED,
            "systemd has not loaded {unit} ({load_state}).",
            "Deploy it with `ansible-playbook site.yml`.",
            unit=name,
            load_state=values.get("LoadState") or "unknown",
        )
    exited = values["ExecMainCode"] != "0"
    return Unit(
        state=STATES.get(values["ActiveState"], values["ActiveState"]),
        restarting=values["SubState"].startswith("auto-restart"),
        restarts=int(values["NRestarts"]),
        exit_status=int(values["ExecMainStatus"]) if exited else None,
        result=values["Result"],
        since=values["ActiveEnterTimestamp"] or None,
        main_pid=int(values["MainPID"]) or None,
        started_monotonic_usec=int(values["ExecMainStartTimestampMonotonic"] or 0),
        pending=values.get("Job", "0") not in ("", "0"),
        invocation=values.get("InvocationID") or None,
    )


def state(name: str) -> str | None:
    """Return a unit's state, None if systemd has not loaded it and it does not run.

    Raises RoundhouseError if systemd does not answer: then nothing is known, and the unit may run.
    """
    try:
        return show(name).state
    except RoundhouseError as error:
        if error.code != NOT_LOADED:
            raise
        return None


def is_asked_to_stop(name: str) -> bool:
    """Return whether a stop or a restart of the unit is queued or runs: then its engine does not end by itself."""
    output = systemctl.call("list-jobs", "--plain", "--no-legend", name)
    jobs = [line.split() for line in output.splitlines()]
    return any(job[1] == name and job[2] in ("stop", "restart", "try-restart") for job in jobs if len(job) > 2)


def start(name: str) -> None:
    """Queue the start and return without waiting. systemd first stops the units that conflict with it."""
    # This also clears the start limit, because a start by a person is not a crash loop. The result is not checked:
    # systemd reports an error for a unit that it has not loaded yet.
    reset_failed(name)
    systemctl.call("start", "--no-block", name)


def run_apart(name: str, command: list[str]) -> None:
    """Run a command as a unit of its own, and return without waiting; a second one of that name is not started."""
    # The result is not checked: a unit of that name may run already, and does the same.
    process.run(["systemd-run", "--quiet", "--collect", "--no-block", f"--unit={name}", *command])


def stop(name: str, *, wait: bool = True) -> None:
    """Stop the unit; with `wait`, return after its processes have ended."""
    systemctl.call("stop", *([] if wait else ["--no-block"]), name)


def reload() -> None:
    """Reload systemd's unit files. Running units are not changed."""
    systemctl.call("daemon-reload")


def kill(name: str) -> None:
    """Kill all processes of a stopping unit."""
    # The result is not checked: the last process may have ended by itself meanwhile.
    process.run(["systemctl", "kill", "--signal=SIGKILL", name])


def reset_failed(name: str) -> None:
    """Reset a killed unit from failed to stopped."""
    process.run(["systemctl", "reset-failed", name])
