"""Count switches as Prometheus histograms: seconds by from, to, phase and outcome. The gateway serves them.

The history is bounded, and counters must not decrease, so this file keeps them in the format that the gateway serves.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..util import files
from . import serving
from .history import Entry

_NAME = "roundhouse_switch_phase_seconds"
_HEAD = f"# TYPE {_NAME} histogram\n"
_LE = ("1", "2.5", "5", "10", "30", "60", "120", "300", "600", "+Inf")
_LINE = re.compile(r"^(\S+{.*}) (\d[\d.e+-]*)$", re.MULTILINE)  # a damaged line is left out


def path() -> Path:
    """Return the file, which HAProxy's user may read."""
    return serving.FOLDER / "switches.prom"


def add(entry: Entry) -> None:
    """Count a switch; `all` is the sum of its phases. Raises OSError."""
    try:
        found = {series: float(value) for series, value in _LINE.findall(path().read_text(errors="replace"))}
    except FileNotFoundError:
        found = {}
    for phase, seconds in {**entry.stages, "all": sum(entry.stages.values())}.items():
        labels = f'from="{entry.previous[0] if entry.previous else ""}",to="{entry.to}",phase="{phase}"'
        _count(found, f'{labels},outcome="{entry.outcome}"', seconds)
    text = "".join(f"{series} {value:g}\n" for series, value in found.items())
    files.write(path(), _HEAD + text)


def _count(found: dict[str, float], labels: str, seconds: float) -> None:
    for limit in _LE:
        series = f'{_NAME}_bucket{{{labels},le="{limit}"}}'
        found[series] = found.get(series, 0) + (seconds <= float(limit.replace("+", "")))
    for name, more in (("sum", seconds), ("count", 1)):
        series = f"{_NAME}_{name}{{{labels}}}"
        found[series] = found.get(series, 0) + more
