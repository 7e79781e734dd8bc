"""From an engine's log and systemd's word for its end to one cause, the line that shows it, and what cures it.

Why an engine did not start: its own last error line, which a person would look for in the log, and the cure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..host.systemd import Unit
from . import causes
from .causes import OOM_KILL

UNKNOWN = "unknown"
EVIDENCE_CHARACTERS = 300
_AN_ERROR = re.compile(r"\w(Error|Exception)\b.*: ")
# A line that vLLM itself does not call an error is no cause.
_NO_ERROR = re.compile(r"(?:\(\w+ pid=\d+\) )?(?:DEBUG|INFO|WARNING) \d\d-\d\d ")


class Finding(NamedTuple):
    """One trouble. `agent` is None for the host's own; `evidence` is the line or the state that shows it."""

    cause: str
    agent: str | None
    sentence: str
    evidence: str
    cure: str

    def text(self) -> str:
        """Return all of it in one line."""
        return f"{self.sentence} {self.evidence} {self.cure}"


def diagnose(name: str, lines: Iterable[str], *, result: str = "", exit_status: int | None = None) -> Finding:
    """Return the cause of an agent's end, from its log and systemd's word for it; UNKNOWN with the last error else."""
    known = [line.strip() for line in lines]
    telling = [line for line in known if not _NO_ERROR.match(line)]
    for cause in causes.CAUSES:
        seen = [line for line in telling if cause.pattern.search(line)]
        if not seen and cause is causes.HOST_MEMORY and result == causes.OOM_KILL:
            seen = [f"systemd: result {result}"]
        if seen:
            # The error itself, rather than the statement that raised it or what repeats it.
            return _finding(cause, name, next(filter(_AN_ERROR.search, seen), seen[0]))
    if result in causes.RESULTS:
        return _finding(causes.BY_NAME[causes.RESULTS[result]], name, f"systemd: result {result}")
    errors = [line for line in known if "rror" in line]
    evidence = (errors or known or ["its log is empty"])[-1]
    ended = "" if exit_status is None else f" (exit status {exit_status})"
    sentence = f"{name} did not start or did not stay{ended}, for a reason that is not in the table of causes."
    return Finding(
        UNKNOWN,
        name,
        sentence,
        evidence[:EVIDENCE_CHARACTERS],
        f"Read the whole log: `roundhouse logs {name} -n 500`.",
    )


def of_cause(name: str, evidence: str, agent: str | None = None) -> Finding:
    """Return the finding of a cause of the table, for the host when there is no agent."""
    cause = causes.BY_NAME[name]
    return _finding(cause, agent or "", evidence)._replace(agent=agent)


def _finding(cause: causes.Cause, name: str, evidence: str) -> Finding:
    return Finding(cause.name, name, cause.sentence, evidence[:EVIDENCE_CHARACTERS], cause.cure.format(name=name))


CHARACTERS = 200  # pydantic prints a whole configuration behind its first words


def cause(name: str, unit: Unit, lines: list[str]) -> str:
    """Return the cause and, where it is known, its cure; `lines` are the log of the agent's last start."""
    errors = [line for line in lines if re.search(r"\b\w*(Error|Exception)\b: |error: |Value error, ", line)]
    # The root cause is raised first; "Engine core initialization failed" and its like come after it.
    told = [line for line in errors if "Engine core initialization failed" not in line]
    # What `ready` says when systemd ends it, and the server's last words, are consequences.
    rest = [line for line in lines if line != "interrupted." and not line.startswith("INFO:")]
    last = (told or errors or rest or ["its log is empty"])[-1]
    text = re.sub(r"^(\(\w+ pid=\d+\) )?((INFO|WARNING|ERROR) [\d-]+ [\d:]+ \[[^\]]*\] ?)?", "", last).strip()
    text = text if len(text) <= CHARACTERS else text[:CHARACTERS].partition(". ")[0] + " ..."
    if unit.result == "timeout":
        text = f"it was not healthy within its time limit; its log ends with: {text}"
    if unit.result == OOM_KILL:
        text = f"the kernel ended it because the host's memory was full; its log ends with: {text}"
    status = f"exit status {unit.exit_status}" if unit.exit_status is not None else unit.result
    found = diagnose(name, lines, result=unit.result, exit_status=unit.exit_status)
    cure = "" if found.cause == UNKNOWN else f" {found.cure}"
    return f"{text} ({status}; the rest: switch.py logs {name}).{cure}"
