#!/usr/bin/env python3
"""Compare the fit with the figures that real engines report at their start: `benchmarks/calibration.py FILE [--json]`.

The file is a list of observations. Each has `model`, `quant`, `gpu_total_gib`, `tp`, the engine's options (null if the
log does not state one), and the figures of the log. Observations of benchmarks/fit.py also have the card's
`capability`, the draft model (`draft`), and whether the start tried kernels (`tries_kernels`). The program fits no
parameters. An observation of another version than the pinned one gets no prediction, because the formulas are those of
the pinned version.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from roundhouse.catalog.model_families import ARCHITECTURES, Architecture, Model, find, in_format
from roundhouse.fit import sizes
from roundhouse.fit.estimate import FITS, NO, Fit, Question, fit
from roundhouse.fit.overhead import uncertainty
from roundhouse.fit.sizes import weights
from roundhouse.util.units import GIB
from roundhouse.vllm import defaults
from roundhouse.vllm.formats import canonical

_FIELDS = (
    "id",
    "model",
    "quant",
    "kv_cache_dtype",
    "gpu",
    "gpu_total_gib",
    "tp",
    "gpu_memory_utilization",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "enforce_eager",
    "vllm_version",
    "weights_gib_per_rank",
    "kv_gib_per_rank",
    "kv_tokens",
    "outcome",
)
_ID_WIDTH = 22
_HEAD = (
    f"{'id':{_ID_WIDTH}}{'model':22}{'weights GiB':>28}{'KV tokens from KV GiB':>32}{'KV GiB':>22}  verdict / outcome"
)


class Row(NamedTuple):
    """One observation; a pair is (predicted, reported), with None for an unknown value."""

    label: str
    outcome: str
    adapters: bool
    weights: tuple[float, float] | None = None
    tokens: tuple[int, int] | None = None
    kv_gib: tuple[float, float] | None = None
    uncertainty_gib: float | None = None
    verdict: str = "unknown"
    uncovered: str | None = None


def main(argv: list[str] | None = None) -> int:
    """Print the table and its means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the observations, as benchmarks/fit.py writes them")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    try:
        print(report(args.file, as_json=args.json))
    except ValueError as error:
        parser.error(str(error))
    return 0


def report(path: Path, *, as_json: bool = False) -> str:
    """Return the table and its means, as text or JSON. Raises ValueError for a file that holds no observations."""
    observations = json.loads(path.read_text())
    if not isinstance(observations, list) or not all(isinstance(each, dict) for each in observations):
        raise ValueError(f"{path} does not hold a list of observations.")
    for each in observations:
        missing = [field for field in _FIELDS if field not in each]
        if missing:
            raise ValueError(f"observation {each.get('id', '?')} has no {missing[0]}: write null if it is not known.")
    found = [row(each) for each in observations]
    if as_json:
        return json.dumps({"rows": [each._asdict() for each in found], "summary": summary(found)})
    return "\n".join([_HEAD, *map(_line, found), "", *summary(found)])


def row(seen: dict[str, Any]) -> Row:
    """Return one observation with the predictions for it."""
    made = Row(
        label=f"{seen['id'][: _ID_WIDTH - 1]:{_ID_WIDTH}}{seen['model'][:15]:16}{seen['quant'][:5]:6}",
        outcome=seen["outcome"],
        adapters="LoRA" in (seen.get("note") or ""),
    )
    models = _models(seen)
    if isinstance(models, str):
        return made._replace(uncovered=f"not covered: {seen.get('note') or models}")
    resident = sum(weights(each.architecture, each.form, seen["tp"]).resident for each in models) / GIB
    stated, kv_gib, kv_tokens = seen["weights_gib_per_rank"], seen["kv_gib_per_rank"], seen["kv_tokens"]
    token_bytes = sum(sizes.bytes_per_token(each.architecture, seen["kv_cache_dtype"], seen["tp"]) for each in models)
    whole = _fit(seen, *models)
    room = whole.kv_gib_per_rank if whole else None
    return made._replace(
        weights=(resident, stated) if stated else None,
        tokens=(sizes.tokens(kv_gib * GIB, token_bytes), kv_tokens) if kv_gib and kv_tokens else None,
        kv_gib=(room, kv_gib) if room is not None and kv_gib else None,
        uncertainty_gib=whole.uncertainty_gib if whole else None,
        verdict=whole.verdict if whole else "-",
    )


def beyond(seen: dict[str, Any]) -> list[str]:
    """Return a sentence for each figure of an observation outside the fit's uncertainty.

    `card_peak_gib`, if present, is the peak of the engine's memory on the card.
    """
    made = row(seen)
    found = []
    if (made.outcome.startswith("served") and made.verdict == NO) or (
        made.outcome.startswith("failed") and made.verdict == FITS
    ):
        found.append(f"{seen['id']}: the engine {made.outcome}, and the fit states {made.verdict}.")
    if made.kv_gib and made.uncertainty_gib and abs(made.kv_gib[0] - made.kv_gib[1]) > made.uncertainty_gib:
        found.append(
            f"{seen['id']}: {made.kv_gib[1]:.2f} GiB of KV cache, and the fit states "
            f"{made.kv_gib[0]:.2f} +- {made.uncertainty_gib:.2f}."
        )
    models = _models(seen)
    if seen.get("card_peak_gib") and not isinstance(models, str):
        whole = _fit(seen, *models)
        terms = list(whole.terms) if whole else []
        share = seen["gpu_total_gib"] * seen["gpu_memory_utilization"]
        most = share + sum(each.gib for each in terms if not each.inside) + uncertainty(terms, inside=False)
        if seen["card_peak_gib"] > most:
            found.append(
                f"{seen['id']}: it held {seen['card_peak_gib']:.2f} GiB, and the fit states {most:.2f} at most."
            )
    return found


def summary(rows: list[Row]) -> list[str]:
    """Return the mean and the largest deviations, one line each."""
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


def _architecture(name: str) -> Architecture | None:
    """Return the architecture of a plain model name such as Qwen2.5-Coder-7B; None if the table lacks it."""
    plain = name.replace("-Coder", "").removesuffix("-Instruct")
    return ARCHITECTURES.get(name) or ARCHITECTURES.get(plain)


def _models(seen: dict[str, Any]) -> list[Model] | str:
    """Return the model and its draft model, or the reason why the formulas do not cover the observation."""
    shape, form = _architecture(seen["model"]), canonical(seen["quant"])
    if shape is None or form is None:
        return f"{seen['model']} is not in the catalog"
    if ".".join(str(seen["vllm_version"]).split(".")[:2]) != defaults.PINNED:
        return f"vLLM {seen['vllm_version']}, and the formulas are those of {defaults.PINNED}"
    if not seen.get("draft"):
        return [in_format(seen["model"], shape, form)]
    draft = find(seen["draft"])
    return [in_format(seen["model"], shape, form), draft] if draft else f"{seen['draft']} is not in the catalog"


def _fit(seen: dict[str, Any], model: Model, draft: Model | None = None) -> Fit | None:
    """Return the fit of an observation, None if its card or share is unknown."""
    if not (seen["gpu_total_gib"] and seen["gpu_memory_utilization"]):
        return None
    card = seen.get("gpu") or ""
    return fit(
        Question(
            model=model,
            card_gib=seen["gpu_total_gib"],
            max_model_len=seen["max_model_len"] or model.architecture.max_position_embeddings or 1,
            gpu_memory_utilization=seen["gpu_memory_utilization"],
            kv_cache_dtype=seen["kv_cache_dtype"],
            tensor_parallel_size=seen["tp"],
            max_num_seqs=seen["max_num_seqs"],
            max_num_batched_tokens=seen["max_num_batched_tokens"],
            enforce_eager=bool(seen["enforce_eager"]),
            a100="A100" in card,
            shared_display="WSL" in card,
            capability=tuple(seen["capability"]) if seen.get("capability") else None,
            draft=draft,
            tries_kernels=seen.get("tries_kernels"),
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


if __name__ == "__main__":
    sys.exit(main())
