"""Why an engine did not start: its own last error line, which a person would look for in the log, and the cure."""

from __future__ import annotations

import re

from .causes import OOM_KILL
from .diagnosis import UNKNOWN, diagnose
from .units import Unit

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
