"""Read the kernel's log of this boot: messages about GPUs (NVRM, Xid), and processes that its OOM killer ended."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from ..doctor.causes_gpu import CARD_LOST, CARD_MEMORY, ENGINE_FAULT, FLAVOUR, HOST_MEMORY, MISMATCH
from ..doctor.diagnosis import Finding, of_cause
from ..host import control_group, journal
from ..host.journal import Entry
from ..util import timestamps

# Other programs, such as a firewall, may fill this log, so only relevant lines are read.
_PATTERN = "NVRM|Xid|oom-kill|Out of memory|out of memory"
_LINES = 500
# An older fault of a GPU no longer counts: if its driver does not answer, doctor names the driver's state.
_CARD_SECONDS = 24 * 3600.0
# An engine's fault is in its own log too. Without that, it is a finding only while it is recent.
_FAULT_SECONDS = 3600.0
# The times of the kernel's and systemd's lines may differ by so much.
_SLACK_SECONDS = 5.0
_KILLED = re.compile(r"oom-kill:.*\btask_memcg=(?P<group>[^,]*),task=(?P<task>[^,]*),pid=(?P<pid>\d+)")
_AN_ENGINE = re.compile(r"vllm", re.IGNORECASE)  # the name of an engine's processes


def read() -> list[Entry]:
    """Return the kernel's messages about GPUs and memory since the boot."""
    return journal.entries("--dmesg", "--grep", _PATTERN, lines=_LINES)


def of_unit(said: list[Entry], unit: str, began: float, ended: float | None) -> list[str]:
    """Return the messages during a start of a unit that may have ended it: about its processes and the GPUs."""
    until = (time.time() if ended is None else ended) + _SLACK_SECONDS
    during = [each for each in said if began - _SLACK_SECONDS <= each.at <= until]
    killed = [line for name, _, line in _killed(during) if name == unit]
    return [*killed, *(each.text for each in during if "NVRM" in each.text)]


def findings(said: list[Entry], *, driver_answers: bool, now: float | None = None) -> Iterator[Finding]:
    """Yield the findings of the host: GPUs that report faults, and killed engines of units that are not ours."""
    now = time.time() if now is None else now
    recent = [each for each in said if now - each.at <= _CARD_SECONDS]
    # A mismatch or a wrong flavour is over if the driver answers.
    wanted = [CARD_LOST, CARD_MEMORY] if driver_answers else [CARD_LOST, CARD_MEMORY, MISMATCH, FLAVOUR]
    for cause in wanted:
        yield from _last(cause.code, [each for each in recent if cause.matches(each.text)])
    fresh = [each for each in recent if now - each.at <= _FAULT_SECONDS]
    yield from _last(ENGINE_FAULT.code, [each for each in fresh if ENGINE_FAULT.matches(each.text)])
    for unit, task, line in _killed(fresh):
        if not unit.startswith("roundhouse-") and _AN_ENGINE.search(task):
            yield of_cause(HOST_MEMORY.code, line)


def _last(code: str, seen: list[Entry]) -> Iterator[Finding]:
    if seen:
        # The first message of a burst is the cause of the others.
        first = next(each for each in seen if seen[-1].at - each.at <= _SLACK_SECONDS)
        yield of_cause(code, f"{timestamps.local(first.at)} {first.text}")


def _killed(said: list[Entry]) -> Iterator[tuple[str, str, str]]:
    """Yield the unit and the name of each process that the OOM killer ended, and the line that reports it."""
    for entry in said:
        if match := _KILLED.search(entry.text):
            named = re.compile(rf"Killed process {match['pid']} ")
            line = next((each.text for each in said if named.search(each.text)), entry.text)
            group = match["group"]
            yield control_group.unit_in(group) or group.rpartition("/")[2], match["task"], line
