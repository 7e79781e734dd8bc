"""Follow the phases of a starting engine, by its log and the durations of the agent's earlier starts.

The patterns match lines of vLLM 0.32. Log text is not an interface, so an unknown line changes nothing.
"""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..util import json_file
from . import serving

if TYPE_CHECKING:  # absolute, so that Ansible does not ship them with modules
    from roundhouse.schema.facts import KnownStart
    from roundhouse.schema.plan import Agent


SCHEMA = 2
# The kept starts of each agent: enough that one slow start does not decide.
KEEP = 5

# In order; an engine may skip a phase.
PHASES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("loading vLLM", re.compile(r"non-default args|vLLM API server version")),
    ("starting the engine", re.compile(r"Initializing a V1 LLM engine")),
    (
        "loading weights",
        re.compile(r"Loading model from scratch|Starting to load model|Loading safetensors checkpoint shards"),
    ),
    ("first pass", re.compile(r"Model loading took")),
    ("compiling", re.compile(r"for vLLM's torch\.compile|Directly load AOT compilation|Compiling a graph")),
    ("warm-up", re.compile(r"Available KV cache memory|[GC]PU KV cache size|Warming up")),
    ("graphs", re.compile(r"Capturing CUDA graphs")),
    ("opening the API", re.compile(r"init engine \(|Starting vLLM server")),
)
_PERCENT = re.compile(r"(?:checkpoint shards|CUDA graphs[^:]*):\s+(\d+)%")


class Start(NamedTuple):
    """One start that became ready: its agent, its total seconds, and the second at which each phase began."""

    agent: str
    model_path: str
    seconds: float
    began: dict[str, float]


class Progress:
    """Follow one start. The caller counts seconds from the begin of the start."""

    def __init__(self, known: Start | None) -> None:
        self.known = known
        self.began: dict[str, float] = {}
        self.phase: str | None = None
        self.percent: int | None = None

    def feed(self, line: str, seconds: float) -> bool:
        """Take a line of the log; return whether the phase or its percentage changed."""
        before = (self.phase, self.percent)
        order = [name for name, _ in PHASES]
        for name, pattern in PHASES:
            later = self.phase is None or order.index(name) > order.index(self.phase)
            # While it measures memory, the engine also captures some graphs to learn their size.
            if name == "graphs" and "warm-up" not in self.began:
                continue
            if later and pattern.search(line):
                self.phase, self.percent = name, None
                self.began[name] = round(seconds, 1)
        found = _PERCENT.findall(line)
        if found and self.phase in ("loading weights", "graphs"):
            self.percent = int(found[-1])
        return (self.phase, self.percent) != before

    def left_seconds(self, seconds: float) -> float | None:
        """Return the seconds until it is ready, None without a known start. A late phase delays the rest."""
        if self.known is None:
            return None
        reached = [name for name in self.began if name in self.known.began]
        if not reached:
            return max(0.0, self.known.seconds - seconds)
        last = reached[-1]
        rest = self.known.seconds - self.known.began[last]
        return max(0.0, rest - (seconds - self.began[last]))

    def text(self, seconds: float) -> str:
        """Return the phase for a person, such as `loading weights 42 %, about 12 s left`."""
        percent = "" if self.percent is None else f" {self.percent} %"
        left = self.left_seconds(seconds)
        rest = "" if left is None or left < 1 else f", about {left:.0f} s left"
        return f"{self.phase or 'starting vLLM'}{percent}{rest}"


def path() -> Path:
    """Return the file of the starts."""
    return serving.FOLDER / "starts.json"


def known(agent: Agent) -> Start | None:
    """Return the median of an agent's last starts with the same model, None without one."""
    found = [each for each in _load() if (each.agent, each.model_path) == (agent["name"], agent["model_path"])]
    if not found:
        return None
    names = [name for name, _ in PHASES if all(name in each.began for each in found)]
    began = {name: statistics.median(each.began[name] for each in found) for name in names}
    return found[-1]._replace(seconds=statistics.median(each.seconds for each in found), began=began)


def keep(agent: Agent, progress: Progress, seconds: float) -> None:
    """Keep a start that became ready. Raises OSError."""
    made = Start(agent=agent["name"], model_path=agent["model_path"], seconds=round(seconds, 1), began=progress.began)
    starts = _load()
    others = [each for each in starts if each.agent != made.agent]
    same = [each for each in starts if (each.agent, each.model_path) == (made.agent, made.model_path)]
    content = {"schema": SCHEMA, "starts": [each._asdict() for each in [*others, *same[1 - KEEP :], made]]}
    json_file.write(path(), content)


def load() -> list[KnownStart]:
    """Return the kept starts of all agents."""
    return [
        {"agent": each.agent, "model_path": each.model_path, "seconds": each.seconds, "began": each.began}
        for each in _load()
    ]


def _load() -> list[Start]:
    starts = json_file.read(path(), SCHEMA).get("starts")
    return [Start(**each) for each in starts if _is_whole(each)] if isinstance(starts, list) else []


def _is_whole(each: object) -> bool:
    """Return whether an entry has what a start reads; a damaged one must not fail every switch."""
    if not isinstance(each, dict) or each.keys() != set(Start._fields):
        return False
    began = each["began"]
    seconds = (each["seconds"], *began.values()) if isinstance(began, dict) else (None,)
    return all(isinstance(value, (int, float)) for value in seconds)
