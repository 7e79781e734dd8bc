"""Diagnose an engine's end: from its log and systemd's result to one cause, its evidence and its remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import RoundhouseError
from ..host.systemd import Unit
from . import causes
from .cause import UNKNOWN, Cause, code_of
from .causes import OOM_KILL
from .causes_gpu import HOST_MEMORY

EVIDENCE_CHARACTERS = 300
_CAUSE_CHARACTERS = 200  # pydantic prints a whole configuration behind its first words
_AN_ERROR = re.compile(r"\w(Error|Exception)\b.*: ")
# A line that vLLM does not log as an error does not count.
_NO_ERROR = re.compile(r"(?:\(\w+ pid=\d+\) )?(?:DEBUG|INFO|WARNING) \d\d-\d\d ")
# The unit's hook `ready` logs this code when systemd stops it: a consequence, not a cause.
_CONSEQUENCE = "interrupted"
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


class Finding(NamedTuple):
    """One problem. `agent` is None for the host; `evidence` is the line or the state that shows the problem."""

    code: str
    agent: str | None
    text: str
    evidence: str
    remedy: str

    @property
    def message(self) -> str:
        """Return text, evidence and remedy in one line."""
        return f"{self.text} {self.evidence} {self.remedy}"


def diagnose(name: str, lines: Iterable[str], *, result: str = "", exit_status: int | None = None) -> Finding:
    """Return the cause of an agent's end, from its log and systemd's result.

    If no row of the table matches, the finding has the code UNKNOWN and the last error of the log as evidence.
    """
    known = [line.strip() for line in lines]
    telling = [line for line in known if not _NO_ERROR.match(line)]
    for each in causes.CAUSES:
        seen = [line for line in telling if each.matches(line)]
        if not seen and each is HOST_MEMORY and result == OOM_KILL:
            seen = [f"systemd: result {result}"]
        if seen:
            # The error itself, not the statement that raised it or a repetition.
            return _finding(each, name, next(filter(_AN_ERROR.search, seen), seen[0]))
    if result in causes.RESULTS:
        return _finding(causes.BY_CODE[causes.RESULTS[result]], name, f"systemd: result {result}")
    errors = [line for line in known if "rror" in line]
    return _unknown(name, (errors or known or ["its log is empty"])[-1], exit_status)


def of_cause(code: str, evidence: str, agent: str | None = None) -> Finding:
    """Return the finding of a cause of the table, for the host if `agent` is None."""
    return _finding(causes.BY_CODE[code], agent or "", evidence)._replace(agent=agent)


def of_error(name: str, code: str | None, evidence: str) -> Finding:
    """Return the finding of one of Roundhouse's errors, by its code or its cause's code; UNKNOWN for other codes."""
    found = next((each for each in causes.BY_CODE.values() if code == each.code or code in each.errors), None)
    return _finding(found, name, evidence) if found else _unknown(name, evidence)


def _unknown(name: str, evidence: str, exit_status: int | None = None) -> Finding:
    ended = "" if exit_status is None else f" (exit status {exit_status})"
    return Finding(
        code=UNKNOWN,
        agent=name,
        text=f"{name} did not start or ended{ended}, and no row of the table of causes matches its log.",
        evidence=_printable(evidence)[:EVIDENCE_CHARACTERS],
        remedy=f"Read the whole log: `roundhouse logs {name} -n 500`.",
    )


def _finding(cause: Cause, name: str, evidence: str) -> Finding:
    return Finding(
        code=cause.code,
        agent=name,
        text=cause.text,
        evidence=_printable(evidence)[:EVIDENCE_CHARACTERS],
        remedy=cause.remedy.format(name=name),
    )


def _printable(text: str) -> str:
    """Return the text without what could control a terminal: a client's request may be in an engine's log."""
    return "".join(each if each.isprintable() else " " for each in _ESCAPE_SEQUENCE.sub("", text))


def ended(code: str, what: str, name: str, unit: Unit, lines: list[str]) -> RoundhouseError:
    """Return the error of a unit that ended, with the cause in its fields; `what` names the end, `lines` is its log."""
    found = cause(name, unit, lines)
    return RoundhouseError(
        code,
        what + ": {evidence} ({status}).",
        found.remedy,
        agent=name,
        cause=found.code,
        evidence=found.evidence,
        status=f"exit status {unit.exit_status}" if unit.exit_status is not None else unit.result,
    )


def cause(name: str, unit: Unit, lines: list[str]) -> Finding:
    """Return why a start failed, with its first error as evidence; `lines` are the log of the agent's last start."""
    errors = [line for line in lines if re.search(r"\b\w*(Error|Exception)\b: |error: |Value error, ", line)]
    # The root cause is raised first; errors such as "Engine core initialization failed" follow it.
    first = [line for line in errors if "Engine core initialization failed" not in line]
    rest = [line for line in lines if code_of(line) != _CONSEQUENCE and not line.startswith("INFO:")]
    last = (first or errors or rest or ["its log is empty"])[-1]
    last = _printable(last)
    text = re.sub(r"^(\(\w+ pid=\d+\) )?((INFO|WARNING|ERROR) [\d-]+ [\d:]+ \[[^\]]*\] ?)?", "", last).strip()
    text = text if len(text) <= _CAUSE_CHARACTERS else text[:_CAUSE_CHARACTERS].partition(". ")[0] + " ..."
    if unit.result == "timeout":
        text = f"it was not healthy within its time limit; its log ends with: {text}"
    if unit.result == OOM_KILL:
        text = f"the kernel killed it because the host's memory was full; its log ends with: {text}"
    return diagnose(name, lines, result=unit.result, exit_status=unit.exit_status)._replace(evidence=text)
