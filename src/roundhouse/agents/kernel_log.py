"""The kernel's log of this boot: what it says of the cards (NVRM, Xid), and which processes its OOM killer ended."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from ..doctor.causes_gpu import CARD_LOST, CARD_MEMORY, ENGINE_FAULT, FLAVOUR, HOST_MEMORY, MISMATCH
from ..doctor.diagnosis import Finding, of_cause
from ..host import journal
from ..host.journal import Entry
from . import ports

# Another program may fill this log, as a firewall does: only what may matter is asked for.
_PATTERN = "NVRM|Xid|oom-kill|Out of memory|out of memory"
_LINES = 500
# Older than this, what a card reported is over: its driver answers, else doctor names the driver's state.
_CARD_SECONDS = 24 * 3600.0
# An engine's own fault shows in its log too; alone it is a finding while it is fresh.
_FAULT_SECONDS = 3600.0
# Clocks of the kernel's and of systemd's lines may differ by so much.
_SLACK_SECONDS = 5.0
_KILLED = re.compile(r"oom-kill:.*\btask_memcg=(?P<group>[^,]*),task=(?P<task>[^,]*),pid=(?P<pid>\d+)")
_AN_ENGINE = re.compile(r"vllm", re.IGNORECASE)  # what an engine's processes call themselves


def read() -> list[Entry]:
    """Return what the kernel said of cards and of memory since it booted."""
    return journal.entries("--dmesg", "--grep", _PATTERN, lines=_LINES)


def of_unit(said: list[Entry], unit: str, began: float, ended: float | None) -> list[str]:
    """Return what was said during a start of a unit that may have ended it: its own processes, and the cards."""
    until = (time.time() if ended is None else ended) + _SLACK_SECONDS
    during = [each for each in said if began - _SLACK_SECONDS <= each.at <= until]
    killed = [line for name, _, line in _killed(during) if name == unit]
    return [*killed, *(each.text for each in during if "NVRM" in each.text)]


def findings(said: list[Entry], *, driver_answers: bool, now: float | None = None) -> Iterator[Finding]:
    """Yield what the host suffers from: cards that report faults, and engines that no unit of ours was seen to run."""
    now = time.time() if now is None else now
    recent = [each for each in said if now - each.at <= _CARD_SECONDS]
    # An old mismatch or flavour is over when the driver answers.
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
        # The first of a burst is the one that the others follow from.
        first = next(each for each in seen if seen[-1].at - each.at <= _SLACK_SECONDS)
        yield of_cause(code, f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(first.at))} {first.text}")


def _killed(said: list[Entry]) -> Iterator[tuple[str, str, str]]:
    """Yield the unit and the name of each process that was ended for memory, and the line that says so."""
    for entry in said:
        if match := _KILLED.search(entry.text):
            named = re.compile(rf"Killed process {match['pid']} ")
            line = next((each.text for each in said if named.search(each.text)), entry.text)
            group = match["group"]
            yield ports.unit_in(group) or group.rpartition("/")[2], match["task"], line
