"""The fit beside what real engines stated when they started: a table, and what is left to explain.

The file is a list of observations, each with `model`, `quant`, `gpu_total_gib`, `tp`, the engine's options
(None where the log does not say) and what the log states. Nothing is fitted here.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from . import engine_defaults, fit_kv, output
from .catalog import architecture, in_format
from .errors import UsageError
from .fit import FITS, NO, Fit, Question, fit
from .fit_weights import GIB, weights
from .formats import canonical

_FIELDS = (
    *("id", "model", "quant", "kv_cache_dtype", "gpu", "gpu_total_gib", "tp", "gpu_memory_utilization"),
    *("max_model_len", "max_num_seqs", "max_num_batched_tokens", "enforce_eager", "vllm_version"),
    *("weights_gib_per_rank", "kv_gib_per_rank", "kv_tokens", "outcome"),
)
# Logs that do not say their version state weights with four decimals, as 0.6 to 0.10 did.
_UNSTATED = {"V0": (0, 7), "V1": (0, 10)}
_HEAD = f"{'id':5}{'model':22}{'weights GiB':>28}{'KV tokens from KV GiB':>32}{'KV GiB':>22}  verdict / outcome"


class Row(NamedTuple):
    """One observation. An error is predicted against stated, None when either is missing."""

    label: str
    weights: tuple[float, float] | None
    tokens: tuple[int, int] | None
    kv_gib: tuple[float, float] | None
    uncertainty_gib: float | None
    verdict: str
    outcome: str
    adapters: bool
    uncovered: str | None


def report(path: Path, *, as_json: bool) -> str:
    """Return the table and its means, as text or JSON; UsageError when the file is not a list of observations."""
    try:
        observations = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError("calibrate", f"--calibrate is {str(path)!r}, which cannot be read ({error}).") from error
    if not isinstance(observations, list) or not all(isinstance(each, dict) for each in observations):
        raise UsageError("calibrate", f"--calibrate is {str(path)!r}: it has to hold a list of observations.")
    for each in observations:
        missing = [field for field in _FIELDS if field not in each]
        if missing:
            at = f"--calibrate is {str(path)!r}, and its observation {each.get('id', '?')}"
            raise UsageError("calibrate", f"{at} has no {missing[0]}: each has {', '.join(_FIELDS)}, or null.")
    found = [row(each) for each in observations]
    if as_json:
        rows = [each._asdict() for each in found]
        return json.dumps({"schema": output.SCHEMA, "ok": True, "rows": rows, "summary": summary(found)})
    return "\n".join([_HEAD, *map(_line, found), "", *summary(found)])


def row(seen: dict[str, Any]) -> Row:
    """Return one observation with the predictions for it."""
    label = f"{seen['id']:5}{seen['model'][:15]:16}{seen['quant'][:5]:6}"
    outcome = seen["outcome"]
    adapters = "LoRA" in (seen.get("note") or "")
    form = canonical(seen["quant"])
    shape = architecture(seen["model"])
    if shape is None or form is None:
        why = "not covered: " + (seen.get("note") or f"{seen['model']} is not in the catalog")
        return Row(label, None, None, None, None, "unknown", outcome, adapters, why)
    model = in_format(seen["model"], shape, form)
    version = _engine(seen)
    resident = weights(model.architecture, model.form, seen["tp"], version).resident / GIB
    stated = seen["weights_gib_per_rank"]
    kv_gib, kv_tokens = seen["kv_gib_per_rank"], seen["kv_tokens"]
    token_bytes = fit_kv.bytes_per_token(model.architecture, seen["kv_cache_dtype"], seen["tp"])
    whole = None
    if seen["gpu_total_gib"] and seen["gpu_memory_utilization"]:
        limit = shape.max_position_embeddings
        whole = _fit(seen, Question(model, seen["gpu_total_gib"], seen["max_model_len"] or limit or 1, engine=version))
    room = whole.kv_gib_per_rank if whole else None
    return Row(
        label,
        (resident, stated) if stated else None,
        (fit_kv.tokens(kv_gib * GIB, token_bytes), kv_tokens) if kv_gib and kv_tokens else None,
        (room, kv_gib) if room is not None and kv_gib else None,
        whole.uncertainty_gib if whole else None,
        whole.verdict if whole else "-",
        outcome,
        adapters,
        None,
    )


def summary(rows: list[Row]) -> list[str]:
    """Return the means and the worst, one line each."""
    plain = [each for each in rows if not each.adapters]
    shares = [100 * (made / stated - 1) for each in plain if each.weights for made, stated in [each.weights]]
    counts = [100 * (made / stated - 1) for each in rows if each.tokens for made, stated in [each.tokens]]
    gaps = [made - stated for each in rows if each.kv_gib for made, stated in [each.kv_gib]]
    within = sum(
        abs(made - stated) <= (each.uncertainty_gib or 0.0)
        for each in rows
        if each.kv_gib
        for made, stated in [each.kv_gib]
    )
    failed = [each for each in rows if each.outcome.startswith("failed") and each.verdict not in ("-", "unknown")]
    served = [each for each in rows if each.outcome.startswith("served") and each.verdict not in ("-", "unknown")]
    with_adapters = sum(1 for each in rows if each.adapters)
    return [
        _mean("weights", shares, "%", 2) + f" (without {with_adapters} that hold LoRA adapters)",
        _mean("KV tokens from the log's KV GiB", counts, "%", 3),
        _mean("KV GiB end to end", gaps, "GiB", 2) + f"; {within} within the stated uncertainty",
        f"failed starts called fits: {sum(each.verdict == FITS for each in failed)} of {len(failed)}; "
        f"served starts called no: {sum(each.verdict == NO for each in served)} of {len(served)}",
        f"not covered, no number given: {sum(each.uncovered is not None for each in rows)} of {len(rows)}",
    ]


def _engine(seen: dict[str, Any]) -> engine_defaults.Version:
    generation = seen.get("engine") or "V1"
    if not seen["vllm_version"]:
        return _UNSTATED[generation]
    stated = engine_defaults.version(seen["vllm_version"])
    # V1 was the default since 0.8, and until 0.10 the older engine could still run.
    return min(stated, _UNSTATED["V0"]) if generation == "V0" else stated


def _fit(seen: dict[str, Any], question: Question) -> Fit:
    card = seen.get("gpu") or ""
    return fit(
        question._replace(
            gpu_memory_utilization=seen["gpu_memory_utilization"],
            kv_cache_dtype=seen["kv_cache_dtype"],
            tensor_parallel_size=seen["tp"],
            max_num_seqs=seen["max_num_seqs"],
            max_num_batched_tokens=seen["max_num_batched_tokens"],
            enforce_eager=bool(seen["enforce_eager"]),
            a100="A100" in card,
            shared_display="WSL" in card,
        )
    )


def _line(each: Row) -> str:
    if each.uncovered:
        return f"{each.label}{each.uncovered}"
    cells = [
        _cell(each.weights, "{:.4f} / {:.4f} {:+.2%}", relative=True, width=28),
        _cell(each.tokens, "{} / {} {:+.3%}", relative=True, width=32),
        _cell(each.kv_gib, "{:.2f} / {:.2f} {:+.2f}", relative=False, width=22),
    ]
    mark = " (LoRA adapters on board)" if each.adapters else ""
    return f"{each.label}{''.join(cells)}  {each.verdict} / {each.outcome.split(':')[0]}{mark}"


def _cell(pair: tuple[float, float] | None, shape: str, *, relative: bool, width: int) -> str:
    if pair is None:
        return "-".rjust(width)
    made, stated = pair
    return shape.format(made, stated, made / stated - 1 if relative else made - stated).rjust(width)


def _mean(name: str, errors: list[float], unit: str, digits: int) -> str:
    if not errors:
        return f"{name}: nothing to compare"
    worst = max(errors, key=abs)
    return (
        f"{name}: n={len(errors)}, mean {mean(errors):+.{digits}f} {unit}, "
        f"mean absolute {mean(map(abs, errors)):.{digits}f} {unit}, worst {worst:+.{digits}f} {unit}"
    )
