"""systemd: the only place that starts and stops anything.

systemd's journal as entries: what a unit's processes, systemd and the kernel said, and when.

Every question has a limit of lines: a journal may hold years.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..errors import RoundhouseError

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
    *("ActiveState", "SubState", "NRestarts", "ExecMainStatus", "ExecMainCode", "Result"),
    *("ActiveEnterTimestamp", "ExecMainStartTimestampMonotonic", "MainPID", "Job", "LoadState"),
    "InvocationID",
)


def show(name: str) -> Unit:
    """Return the state of a unit. Raises RoundhouseError where systemd does not know it.

    A unit that runs is told of though its file is gone: it can still be stopped.
    """
    (found,) = show_all([name])
    if isinstance(found, RoundhouseError):
        raise found
    return found


def show_all(names: list[str]) -> list[Unit | RoundhouseError]:
    """Return what `show` returns or raises for each of the units, in their order, for the cost of one."""
    if not names:
        return []
    output = _systemctl("show", "--property", ",".join(_PROPERTIES), *names)
    return [_unit(name, told) for name, told in zip(names, output.split("\n\n"), strict=True)]


def _unit(name: str, told: str) -> Unit | RoundhouseError:
    values = dict(line.partition("=")[::2] for line in told.splitlines())
    if values.get("LoadState") != "loaded" and values.get("ActiveState") in (None, "inactive", "failed"):
        return RoundhouseError("unit", f"{name} is {values.get('LoadState') or 'unknown'} to systemd: deploy again.")
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
    """Return a unit's state, None when systemd does not know it and nothing of it runs."""
    try:
        return show(name).state
    except RoundhouseError:
        return None


def is_on(name: str) -> bool:
    """Return whether the unit runs now and starts at each boot; False where systemd does not know it."""
    output = _systemctl("show", "--property", "ActiveState,UnitFileState", name)
    return sorted(output.split()) == ["ActiveState=active", "UnitFileState=enabled"]


def start(name: str) -> None:
    """Queue the start and return. systemd stops the units that conflict with it first."""
    # Clears the start limit too: a person who asks again is not a crash loop. Not checked, because a
    # unit that systemd has not loaded yet has nothing to reset and answers with an error.
    forgive(name)
    _systemctl("start", "--no-block", name)


def stop(name: str, *, wait: bool = True) -> None:
    """Stop the unit, and wait until its processes are gone unless told not to."""
    _systemctl("stop", *([] if wait else ["--no-block"]), name)


def reload() -> None:
    """Let systemd read the units again. What runs goes on as it was started."""
    _systemctl("daemon-reload")


def kill(name: str) -> None:
    """End all processes of a unit that is being stopped, at once."""
    # Not checked: the last of them may have ended by itself meanwhile.
    subprocess.run(["systemctl", "kill", "--signal=SIGKILL", name], capture_output=True, check=False)


def forgive(name: str) -> None:
    """Let a unit that was ended by force count as stopped, not as failed."""
    subprocess.run(["systemctl", "reset-failed", name], capture_output=True, check=False)


def active(*patterns: str) -> list[str]:
    """Return the active units of the given patterns."""
    output = _systemctl("list-units", "--plain", "--no-legend", "--state=active", *patterns)
    return [line.split()[0] for line in output.splitlines()]


def log(name: str, lines: int) -> list[str]:
    """Return the last lines of the unit's journal, oldest first."""
    return _journal("--unit", name, "--lines", str(lines))


def log_of_this_start(name: str) -> list[str]:
    """Return what the unit's processes wrote since its last start, oldest first."""
    invocation = _systemctl("show", "--property", "InvocationID", "--value", name).strip()
    return _journal(f"_SYSTEMD_INVOCATION_ID={invocation}") if invocation else []


class Follower:
    """The log of one start, read as it comes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._rest = b""

    def lines(self) -> list[str]:
        """Return the lines that came since the last call; never waits."""
        read = self._process.stdout.read() or b"" if self._process.stdout else b""
        *whole, self._rest = (self._rest + read).split(b"\n")
        return [line.decode(errors="replace") for line in whole]


@contextmanager
def following(invocation: str) -> Iterator[Follower]:
    """Follow the log of one start, from its beginning."""
    command = ["journalctl", "--output=cat", "--no-pager", "--follow", "--lines=all"]
    command.append(f"_SYSTEMD_INVOCATION_ID={invocation}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        if process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), False)
        try:
            yield Follower(process)
        finally:
            process.terminate()


def _journal(*arguments: str) -> list[str]:
    command = ["journalctl", "--output", "cat", "--no-pager", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return done.stdout.splitlines()


def _systemctl(*arguments: str) -> str:
    try:
        result = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RoundhouseError("systemd", "systemctl is not here: this host does not run systemd.") from None
    if result.returncode != 0:
        said = (result.stderr or result.stdout).strip().splitlines()
        raise RoundhouseError("systemd", f"systemctl {' '.join(arguments)} failed: {said[0] if said else 'no word'}")
    return result.stdout


class Entry(NamedTuple):
    """One line of the journal. `at` are seconds since the epoch, `fields` what else was asked for."""

    at: float
    text: str
    fields: dict[str, str]


def entries(*matches: str, lines: int, fields: tuple[str, ...] = ()) -> list[Entry]:
    """Return the last `lines` entries that match, oldest first; [] where there is no journal or it may not be read.

    `matches` are journalctl's own: FIELD=VALUE, alternatives of one field side by side, or options such as --dmesg.
    """
    if shutil.which("journalctl") is None:
        return []
    command = ["journalctl", "--output", "json", "--no-pager", "--quiet", "--lines", str(lines)]
    command += ["--output-fields", ",".join(("MESSAGE", *fields)), *matches]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    found = [_entry(json.loads(line), fields) for line in done.stdout.splitlines() if line.startswith("{")]
    return sorted(found, key=lambda each: each.at)  # --grep turns the order round


def of_start(invocation: str, lines: int) -> list[str]:
    """Return what systemd said of one start of a unit, then what the unit's processes said, each oldest first.

    The processes' last line is the last of all: it is what a person would look at first.
    """
    said = entries(f"INVOCATION_ID={invocation}", lines=lines)
    own = entries(f"_SYSTEMD_INVOCATION_ID={invocation}", lines=lines)
    return [each.text for each in (*said, *own)]


def _entry(told: dict[str, Any], fields: tuple[str, ...]) -> Entry:
    return Entry(
        int(told["__REALTIME_TIMESTAMP"]) / 1e6,
        _text(told.get("MESSAGE")),
        {name: _text(told[name]) for name in fields if told.get(name) is not None},
    )


def _text(value: Any) -> str:
    """Return a field's text. journalctl gives one that is no plain text as a list of bytes, one given twice as both."""
    if isinstance(value, list):
        if all(isinstance(each, int) for each in value):
            return bytes(value).decode(errors="replace")
        return _text(value[-1])
    return "" if value is None else str(value)
