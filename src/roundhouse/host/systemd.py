"""systemd's units: their state, and the only place that starts and stops them. The journal is in journal.py."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import RoundhouseError
from ..util import process

# systemd's ActiveState -> the word for an agent. "reloading" does not occur: the units have no reload.
STATES = {
    "inactive": "stopped",
    "activating": "starting",
    "active": "ready",
    "deactivating": "draining",
    "failed": "failed",
}


FOLDER = "/etc/systemd/system"  # where the units are written


class Unit(NamedTuple):
    """What systemd says about one unit at one moment."""

    state: str  # one of STATES' values
    restarting: bool  # the process ended and systemd waits before it tries again
    restarts: int
    exit_status: int | None
    result: str
    since: str | None  # local time, as systemd prints it
    main_pid: int | None
    started_monotonic_usec: int
    pending: bool  # a start or stop is queued: a start that waits for another unit's stop looks stopped
    invocation: str | None  # names this start in the journal


_PROPERTIES = (
    "ActiveState,SubState,NRestarts,ExecMainStatus,ExecMainCode,Result,ActiveEnterTimestamp,"
    "ExecMainStartTimestampMonotonic,MainPID,Job,LoadState,InvocationID"
)


def show(name: str) -> Unit:
    """Return the state of a unit. Raises RoundhouseError where systemd does not know it.

    A running unit has a state even if its file is gone: it can still be stopped.
    """
    (found,) = show_all([name])
    if isinstance(found, RoundhouseError):
        raise found
    return found


def show_all(names: list[str]) -> list[Unit | RoundhouseError]:
    """Return what `show` returns or raises for each of the units, in their order, for the cost of one."""
    if not names:
        return []
    output = _systemctl("show", "--property", _PROPERTIES, *names)
    return [_unit(name, block) for name, block in zip(names, output.split("\n\n"), strict=True)]


def _unit(name: str, block: str) -> Unit | RoundhouseError:
    values = _values(block)
    if values.get("LoadState") != "loaded" and values.get("ActiveState") in (None, "inactive", "failed"):
        return RoundhouseError(
            "unit_not_loaded",
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


def properties(names: list[str], *wanted: str) -> dict[str, dict[str, str]]:
    """Return the wanted properties of all units that the names or patterns match, by unit; {} without systemd."""
    try:
        output = _systemctl("show", "--property", ",".join(("Id", *wanted)), *names)
    except RoundhouseError:
        return {}
    units = [_values(block) for block in output.split("\n\n")]
    return {unit["Id"]: unit for unit in units if "Id" in unit}


def _values(block: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in block.splitlines())


def state(name: str) -> str | None:
    """Return a unit's state, None when systemd does not know it and nothing of it runs."""
    try:
        return show(name).state
    except RoundhouseError:
        return None


def is_on(name: str) -> bool:
    """Return whether the unit runs now and starts at each boot; False where systemd does not know it."""
    unit = properties([name], "ActiveState", "UnitFileState").get(name, {})
    return (unit.get("ActiveState"), unit.get("UnitFileState")) == ("active", "enabled")


def start(name: str) -> None:
    """Queue the start and return. systemd stops the units that conflict with it first."""
    # Clears the start limit too: a person who asks again is not a crash loop. Not checked, because a
    # unit that systemd has not loaded yet has nothing to reset and answers with an error.
    reset_failed(name)
    _systemctl("start", "--no-block", name)


def stop(name: str, *, wait: bool = True) -> None:
    """Stop the unit, and wait until its processes are gone unless told not to."""
    _systemctl("stop", *([] if wait else ["--no-block"]), name)


def reload() -> None:
    """Let systemd read the units again. What runs goes on as it was started."""
    _systemctl("daemon-reload")


def run(verb: str, name: str) -> None:
    """Let systemctl do something else to a unit, such as restart. Raises RoundhouseError when it fails."""
    _systemctl(verb, name)


def kill(name: str) -> None:
    """Kill all processes of a stopping unit."""
    # Not checked: the last of them may have ended by itself meanwhile.
    process.run(["systemctl", "kill", "--signal=SIGKILL", name])


def reset_failed(name: str) -> None:
    """Let a killed unit count as stopped, not as failed."""
    process.run(["systemctl", "reset-failed", name])


def active(*patterns: str) -> list[str]:
    """Return the active units of the given patterns."""
    output = _systemctl("list-units", "--plain", "--no-legend", "--state=active", *patterns)
    return [line.split()[0] for line in output.splitlines()]


def _systemctl(*arguments: str) -> str:
    try:
        result = process.run(["systemctl", *arguments])
    except FileNotFoundError:
        raise RoundhouseError(
            "systemd_missing", "systemctl is not installed.", "Run this on a host that runs systemd."
        ) from None
    if result.returncode != 0:
        raise RoundhouseError(
            "systemctl_failed",
            "`systemctl {arguments}` failed: {output}",
            arguments=" ".join(arguments),
            output=(result.stderr or result.stdout).strip().partition("\n")[0] or "no output",
        )
    return result.stdout
