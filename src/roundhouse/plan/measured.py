"""What engines stated when they started on this host, read from their logs and kept for the next plan.

One entry for each model and configuration, the newest start; `plan_facts` hands them to the planner, which then
uses the measured terms in place of the computed ones. A start that failed states as much as it came to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..catalog.models import Model
from ..fit.estimate import Measured
from ..roster import models
from ..util import files
from ..vllm import defaults
from .candidates import Configuration, Measurements

PATH = Path("/var/lib/roundhouse/state/measured.json")
SCHEMA = 1
KEEP = 100

# vLLM 0.32's own lines: v1/worker/gpu_model_runner.py, gpu_worker.py, v1/core/kv_cache_utils.py. With several ranks
# each says its own; the largest weights and the smallest KV cache count.
_NUMBER = r"(-?[\d.]+) GiB"
_LINES: dict[str, tuple[re.Pattern[str], Any]] = {
    "weights_gib": (re.compile(rf"Model loading took {_NUMBER}"), max),
    # The second is the CPU's engine (v1/worker/cpu_worker.py), which states no weights.
    "kv_gib": (re.compile(r"Available KV cache memory: (-?[\d.]+)|Explicitly set \(([\d.]+)/[\d.]+\) GiB for KV"), min),
    "kv_tokens": (re.compile(r"[GC]PU KV cache size: ([\d,]+) tokens"), min),
    "graphs_estimated_gib": (re.compile(rf"CUDA graph pool memory: .* {_NUMBER} \(estimated\)"), max),
    "graphs_gib": (re.compile(rf"CUDA graph pool memory: {_NUMBER} \(actual\)"), max),
    "activation_gib": (re.compile(rf"{_NUMBER} for peak activation"), max),
    "cuda_gib": (re.compile(r"Free memory on device \([\d.]+/([\d.]+) GiB\) on startup"), min),
}
# The configuration that a measurement is of, from an agent of the plan. The cards count by number: a host may have
# several kinds.
_IDENTITY = (
    *("model", "quantization", "kv_cache_dtype", "gpus", "max_num_seqs", "max_num_batched_tokens", "enforce_eager"),
    "draft_model",
    "quantize",
    "kernels",
)
_STARTED_WITH = ("max_model_len", "gpu_memory_utilization")


def parse(lines: Iterable[str]) -> dict[str, float]:
    """Return what a start log states, by the names of `_LINES`; what it does not state is not in it."""
    seen: dict[str, list[float]] = {}
    for line in lines:
        for name, (pattern, _) in _LINES.items():
            if match := pattern.search(line):
                number = next(group for group in match.groups() if group is not None)
                seen.setdefault(name, []).append(float(number.replace(",", "")))
    return {name: _LINES[name][1](values) for name, values in seen.items()}


def entry(agent: dict[str, Any], lines: Iterable[str]) -> dict[str, Any] | None:
    """Return the measurement of an agent's start, None when its log states nothing of it."""
    stated = parse(lines)
    if not stated:
        return None
    # A start that fails ends before the engine says its card's total: then it is what the plan reckoned with.
    card = {"cuda_gib": agent["fit"]["card_gib"]} if agent.get("fit") else {}
    return {
        "engine": defaults.PINNED,
        **{name: agent.get(name) for name in (*_IDENTITY, *_STARTED_WITH)},
        **card,
        **stated,
    }


def learn(agent: dict[str, Any], lines: Iterable[str], path: Path | None = None) -> None:
    """Keep what an agent's start log states."""
    path = path or PATH
    made = entry(agent, lines)
    if made is None:
        return
    others = [each for each in load(path) if _of(each) != _of(made)]
    files.write(path, json.dumps({"schema": SCHEMA, "starts": [made, *others][:KEEP]}, indent=1))


def load(path: Path | None = None) -> list[dict[str, Any]]:
    """Return the entries, newest first; [] where none was written, or by another version of this file.

    A file that cannot be read is as good as none: the terms are computed then, as on a new host.
    """
    try:
        kept = json.loads((path or PATH).read_text())
    except (OSError, ValueError):
        return []
    starts = kept.get("starts") if isinstance(kept, dict) and kept.get("schema") == SCHEMA else None
    return [each for each in starts if _whole(each)] if isinstance(starts, list) else []


def of(agent: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the measurement of an agent of the plan, None when it has not run so."""
    return next((each for each in entries if _of(each) == _of(agent)), None)


def lookup(entries: list[dict[str, Any]], configs: models.Configs) -> Measurements:
    """Return the measured terms by configuration, as `choice` looks them up."""
    found = {}
    for each in entries:
        model = models.find(each, configs)
        pinned = each.get("engine") == defaults.PINNED
        stated = all(each.get(name) is not None for name in ("weights_gib", "kv_gib", "cuda_gib"))
        if isinstance(model, Model) and pinned and stated:
            share_gib = each["cuda_gib"] * each["gpu_memory_utilization"]
            overhead_gib = share_gib - each["weights_gib"] - each["kv_gib"]
            found[_configuration(each, model)] = Measured(each["weights_gib"], overhead_gib)
    return found


def _whole(each: Any) -> bool:
    if not isinstance(each, dict) or not all(name in each for name in (*_IDENTITY, *_STARTED_WITH)):
        return False
    # Earlier versions kept null for enforce_eager: whether such a start captured graphs is not known.
    kinds = {"model": str, "gpus": list, "enforce_eager": bool}
    return all(isinstance(each[name], kind) for name, kind in kinds.items())


def _of(each: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(tuple(each["gpus"]) if name == "gpus" else each.get(name) for name in _IDENTITY)


def _configuration(each: dict[str, Any], model: Model) -> Configuration:
    return Configuration(
        model=model.name,
        form=model.form.name,
        kv_cache_dtype=each["kv_cache_dtype"],
        gpus=tuple(each["gpus"]),
        max_num_seqs=each["max_num_seqs"],
        max_num_batched_tokens=each["max_num_batched_tokens"],
        enforce_eager=each["enforce_eager"],
        draft=each["draft_model"],
        kernels=bool(each["kernels"]),
    )
