"""Store the memory measurements in the start logs of this host's engines, for the next plan.

There is one entry per model and configuration, from the newest start. The planner uses the measured terms instead of
the computed ones. A failed start contributes the values that it logged before it failed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..util import files, json_file
from ..vllm import defaults
from ..vllm.option_owners import COMPUTED

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import Measurement
    from roundhouse.schema.plan import Agent

PATH = Path("/var/lib/roundhouse/state/measured.json")
SCHEMA = 1
KEEP = 100

# Log lines of vLLM 0.32 (v1/worker/gpu_model_runner.py, gpu_worker.py, v1/core/kv_cache_utils.py). Each rank logs its
# own values; the largest weights and the smallest KV cache are kept. Not compiled here: most commands parse no log.
_NUMBER = r"(-?[\d.]+) GiB"
_LINES: dict[str, tuple[str, Callable[[list[float]], float]]] = {
    "weights_gib": (rf"Model loading took {_NUMBER}", max),
    # The second pattern is for the CPU (v1/worker/cpu_worker.py), where vLLM does not log the weights.
    "kv_gib": (r"Available KV cache memory: (-?[\d.]+)|Explicitly set \(([\d.]+)/[\d.]+\) GiB for KV", min),
    "kv_tokens": (r"[GC]PU KV cache size: ([\d,]+) tokens", min),
    "graphs_estimated_gib": (rf"CUDA graph pool memory: .* {_NUMBER} \(estimated\)", max),
    "graphs_gib": (rf"CUDA graph pool memory: {_NUMBER} \(actual\)", max),
    "activation_gib": (rf"{_NUMBER} for peak activation", max),
    "cuda_gib": (r"Free memory on device \([\d.]+/([\d.]+) GiB\) on startup", min),
}
# The configuration of a measurement, by the names of Measurement and Agent. Cards are compared by number, because a
# host may have different kinds.
_IDENTITY = (
    "model",
    "quantization",
    "kv_cache_dtype",
    "gpus",
    "max_num_seqs",
    "max_num_batched_tokens",
    "enforce_eager",
    "draft_model",
    "quantize",
    "kernels",
)
_STARTED_WITH = ("max_model_len", "gpu_memory_utilization")
REQUIRED = ("engine", *_IDENTITY, *_STARTED_WITH)  # keys of Measurement, listed because hosts do not get the schema


def parse(lines: Iterable[str]) -> dict[str, float]:
    """Return the values in a start log, by the names of `_LINES`; missing values are absent."""
    seen: dict[str, list[float]] = {}
    for line in lines:
        for name, (pattern, _) in _LINES.items():
            if match := re.search(pattern, line):
                number = next(group for group in match.groups() if group is not None)
                seen.setdefault(name, []).append(float(number.replace(",", "")))
    return {name: _LINES[name][1](values) for name, values in seen.items()}


def entry(agent: Agent, lines: Iterable[str]) -> Measurement | None:
    """Return the measurement of an agent's start, None if its log has no values or its options change the weights."""
    stated = parse(lines)
    if not stated or any(name in agent.get("config", {}) for name in COMPUTED):
        return None
    settings: Mapping[str, object] = agent  # a plan of an earlier version lacks some
    kept = {name: settings.get(name) for name in (*_IDENTITY, *_STARTED_WITH)}
    # A failed start ends before the engine logs the card's total, so the plan's value is used.
    fit = agent.get("fit")
    card = {"cuda_gib": fit["card_gib"]} if fit else {}
    return cast("Measurement", {"engine": defaults.PINNED, **kept, **card, **stated})


def learn(agent: Agent, lines: Iterable[str], path: Path | None = None) -> None:
    """Store the measurement in an agent's start log."""
    path = path or PATH
    made = entry(agent, lines)
    if made is None:
        return
    others = [each for each in load(path) if _identity(each) != _identity(made)]
    files.write(path, json.dumps({"schema": SCHEMA, "starts": [made, *others][:KEEP]}, indent=1))


def load(path: Path | None = None) -> list[Measurement]:
    """Return the entries, newest first; [] if the file is missing, unreadable or of a different schema.

    Without entries the planner computes all terms, as on a new host.
    """
    try:
        starts = json_file.read(path or PATH, SCHEMA).get("starts")
    except OSError:
        return []
    return [each for each in starts if _is_whole(each)] if isinstance(starts, list) else []


def of(agent: Agent, entries: list[Measurement]) -> Measurement | None:
    """Return the measurement of an agent of the plan, None if it has not run in this configuration."""
    if any(name in agent.get("config", {}) for name in COMPUTED):
        return None
    return next((each for each in entries if _identity(each) == _identity(agent)), None)


def _is_whole(each: object) -> bool:
    if not isinstance(each, dict) or not all(name in each for name in REQUIRED):
        return False
    # Earlier versions stored null for enforce_eager, so it is unknown if such a start captured graphs.
    kinds = {"model": str, "gpus": list, "enforce_eager": bool}
    return all(isinstance(each[name], kind) for name, kind in kinds.items())


def _identity(each: Measurement | Agent) -> tuple[object, ...]:
    settings: Mapping[str, object] = each
    return tuple(tuple(each["gpus"]) if name == "gpus" else settings.get(name) for name in _IDENTITY)
