#!/usr/bin/env python3
"""Compare the fit with the figures that real engines report at their start: `benchmarks/calibration.py FILE [FILE]`.

A file is a list of observations. Each has `model`, `quant`, `gpu_total_gib`, `tp`, the engine's options (null if the
log does not state one), and the figures of the log. `_OPTIONAL` lists further options, such as the draft model. The
program fits no parameters. An observation without a version gets one by its figures: until 0.14 vLLM stated weights
with four decimals, and later with two.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from roundhouse.catalog import gpus
from roundhouse.catalog.architecture import Model
from roundhouse.catalog.model_families import ARCHITECTURES, find, in_format, known
from roundhouse.fit import beside
from roundhouse.fit.estimate import FITS, NO, Fit, Question, fit, pool, resident_weights
from roundhouse.fit.overhead import uncertainty
from roundhouse.util.units import GIB
from roundhouse.vllm import defaults
from roundhouse.vllm.defaults import Version
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
# Fields that an observation may have, by the names of Question.
_OPTIONAL = (
    "mtp",
    "drafts",
    "adapters",
    "images",
    "block_tokens",
    "shared_prefixes",
    "tries_kernels",
    "free_gib",
    "samples_by_flashinfer",
)
_ID_WIDTH = 22
# vLLM stated weights with four decimals until 0.14, and tokens by blocks until 0.10.
_FOUR_DECIMALS: Version = (0, 10)
_TWO_DECIMALS: Version = (0, 24)  # the middle of 0.15 to 0.33
_BY_REQUESTS_SINCE: Version = (0, 11)
_OTHERS = re.compile(r"other process(?:es)? had ([\d.]+) (GiB|MiB)")
_HEAD = (
    f"{'id':{_ID_WIDTH}}{'model':22}{'weights GiB':>28}{'KV tokens from KV GiB':>32}{'KV GiB':>22}  verdict / outcome"
)


class Row(NamedTuple):
    """One observation; a pair is (predicted, reported), with None for an unknown value."""

    label: str
    outcome: str
    plain: bool  # the V1 engine, on a card with memory of its own
    weights: tuple[float, float] | None = None
    tokens: tuple[int, int] | None = None
    kv_gib: tuple[float, float] | None = None
    uncertainty_gib: float | None = None
    verdict: str = "unknown"
    uncovered: str | None = None


def main(argv: list[str] | None = None) -> int:
    """Print the table and its means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="+", help="the observations, as benchmarks/fit.py writes them")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    try:
        print(report(*args.file, as_json=args.json))
    except ValueError as error:
        parser.error(str(error))
    return 0


def observations(path: Path) -> list[dict[str, Any]]:
    """Return the observations of a file. Raises ValueError for a file that holds none."""
    found = json.loads(path.read_text())
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"{path} does not hold a list of observations.")
    for each in found:
        missing = [field for field in _FIELDS if field not in each]
        if missing:
            raise ValueError(f"observation {each.get('id', '?')} has no {missing[0]}: write null if it is not known.")
    return found


def report(*paths: Path, as_json: bool = False) -> str:
    """Return the table of all files and its means, as text or JSON. Raises ValueError."""
    found = [row(each) for path in paths for each in observations(path)]
    if as_json:
        return json.dumps({"rows": [each._asdict() for each in found], "summary": summary(found)})
    return "\n".join([_HEAD, *map(_line, found), "", *summary(found)])


def row(seen: dict[str, Any]) -> Row:
    """Return one observation with the predictions for it."""
    made = Row(
        label=f"{seen['id'][: _ID_WIDTH - 1]:{_ID_WIDTH}}{seen['model'][:15]:16}{seen['quant'][:5]:6}",
        outcome=seen["outcome"],
        plain=seen.get("engine") != "V0" and not any(word in (seen.get("gpu") or "") for word in ("Spark", "GB10")),
    )
    asked = question(seen)
    if isinstance(asked, str):
        return made._replace(uncovered=f"not covered: {seen.get('note') or asked}")
    stated, kv_gib, kv_tokens = seen["weights_gib_per_rank"], seen["kv_gib_per_rank"], seen["kv_tokens"]
    blocks = pool(asked)
    whole = fit(asked) if _sized(seen) else None
    # Not kv_gib_per_rank, which is never negative: vLLM states a negative KV cache before it fails.
    room = blocks.needed(asked.max_model_len) / GIB - (whole.gap_gib or 0.0) if whole else None
    made_tokens = blocks.tokens((kv_gib or 0) * GIB, asked.max_model_len)
    if asked.engine < _BY_REQUESTS_SINCE:
        made_tokens = blocks.blockwise((kv_gib or 0) * GIB)
    return made._replace(
        weights=(resident_weights(asked).resident / GIB, stated) if stated else None,
        tokens=(made_tokens, kv_tokens) if kv_gib and kv_tokens else None,
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
    asked = question(seen)
    if seen.get("card_peak_gib") and not isinstance(asked, str):
        whole: Fit | None = fit(asked) if _sized(seen) else None
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
    shares = [100 * (made / stated - 1) for each in rows if each.weights for made, stated in [each.weights]]
    counts = [100 * (made / stated - 1) for each in rows if each.tokens for made, stated in [each.tokens]]
    gaps = [made - stated for each in rows if each.kv_gib for made, stated in [each.kv_gib]]
    discrete = [each.kv_gib[0] - each.kv_gib[1] for each in rows if each.kv_gib and each.plain]
    within = sum(
        abs(made - stated) <= (each.uncertainty_gib or 0.0)
        for each in rows
        if each.kv_gib
        for made, stated in [each.kv_gib]
    )
    failed = [each for each in rows if each.outcome.startswith("failed") and each.verdict not in ("-", "unknown")]
    served = [each for each in rows if each.outcome.startswith("served") and each.verdict not in ("-", "unknown")]
    return [
        _mean("weights", shares, "%", 2),
        _mean("KV tokens from the log's KV GiB", counts, "%", 3),
        _mean("KV GiB end to end", gaps, "GiB", 2) + f"; {within} within the stated uncertainty",
        _mean("  of the V1 engine on cards with memory of their own", discrete, "GiB", 2),
        f"failed starts called fits: {sum(each.verdict == FITS for each in failed)} of {len(failed)}; "
        f"served starts called no: {sum(each.verdict == NO for each in served)} of {len(served)}",
        f"not covered, no number given: {sum(each.uncovered is not None for each in rows)} of {len(rows)}",
    ]


def model(name: str, quant: str) -> Model | str:
    """Return a catalog model by a plain name such as Qwen2.5-Coder-7B, or the reason why there is none."""
    form = canonical(quant)
    # A Coder of Qwen2.5 has the shape of its base. Qwen3's Coders are models of their own.
    plain = name.replace("Qwen2.5-Coder", "Qwen2.5")
    for end in ("-Instruct", "-Instruct-2507", "-Thinking-2507", "-it"):
        plain = plain.removesuffix(end)
    names = {each.lower(): each for each in ARCHITECTURES}
    repository = next((each for each in known() if each.partition("/")[2].lower() == name.lower()), None)
    if form is None:
        return f"{quant} is not a format"
    if key := names.get(name.lower()) or names.get(plain.lower()):
        return in_format(name, ARCHITECTURES[key], form)
    base = find(repository) if repository else None
    return in_format(name, base.architecture, form) if base else f"{name} is not in the catalog"


def _version(seen: dict[str, Any]) -> Version:
    """Return the engine's version, by the form of the log's figures where it does not state one."""
    stated = defaults.version(str(seen["vllm_version"] or ""))
    if seen.get("engine") == "V0":
        # 0.8 and 0.9 ran some models with the earlier engine.
        return min(stated or _LAST_V0, _LAST_V0)
    decimals = len(str(seen["weights_gib_per_rank"] or "").partition(".")[2])
    return stated or (_FOUR_DECIMALS if decimals > _STATED_DECIMALS else _TWO_DECIMALS)


_STATED_DECIMALS = 2
_LAST_V0: Version = (0, 7)
_UNSLOTH_RANK = 64


def _sized(seen: dict[str, Any]) -> bool:
    """Return whether the log states what the KV cache's size depends on.

    A draft model without a name is an unknown part of the memory, and the V0 engine's batch follows max_model_len.
    """
    unnamed = "with a draft model" in (seen.get("note") or "")
    unlimited = seen.get("engine") == "V0" and seen["max_model_len"] is None
    return bool(seen["gpu_total_gib"] and seen["gpu_memory_utilization"]) and not unnamed and not unlimited


def question(seen: dict[str, Any]) -> Question | str:
    """Return the question that an observation answers, or the reason why the formulas do not cover it.

    Its note may state what the options do not: LoRA, FlashInfer's sampler, and what other processes hold of the card.
    """
    asked = model(seen["model"], seen["quant"])
    draft = find(seen["draft"]) if seen.get("draft") else None
    if isinstance(asked, str):
        return asked
    card, note = seen.get("gpu") or "", seen.get("note") or ""
    unified = "Spark" in card or "GB10" in card
    named = gpus.find(card.removeprefix("NVIDIA ").partition(" HBM")[0], None) if card else None
    capability = seen.get("capability") or (named.capability if named else None)
    others = _OTHERS.search(note)
    held = float(others[1]) / (1024 if others[2] == "MiB" else 1) if others else 0.0
    total = seen["gpu_total_gib"] or 1.0
    made = Question(
        model=asked,
        card_gib=total,
        max_model_len=seen["max_model_len"] or asked.architecture.max_position_embeddings or 1,
        gpu_memory_utilization=seen["gpu_memory_utilization"] or 1.0,
        kv_cache_dtype=seen["kv_cache_dtype"],
        tensor_parallel_size=seen["tp"],
        max_num_seqs=seen["max_num_seqs"],
        max_num_batched_tokens=seen["max_num_batched_tokens"],
        enforce_eager=bool(seen["enforce_eager"]),
        a100="A100" in card and "A800" not in card,
        shared_display="WSL" in card,
        capability=tuple(capability) if capability else None,
        draft=draft,
        engine=_version(seen),
        unified=unified,
        system_gib=beside.SYSTEM_FLOOR_GIB if unified else None,
        adapters=1 if "LoRA" in note else 0,
        adapter_rank=_UNSLOTH_RANK if "Unsloth" in note else 16,
        tries_kernels=True if "first compilation" in note else None,
        samples_by_flashinfer=True if "FlashInfer" in note else None,
        free_gib=total - held if held else None,
    )
    return made._replace(**{name: seen[name] for name in _OPTIONAL if seen.get(name) is not None})


def _line(each: Row) -> str:
    if each.uncovered:
        return f"{each.label}{each.uncovered}"
    cells = [
        _cell(each.weights, "{:.4f} / {:.4f} {:+.2%}", relative=True, width=28),
        _cell(each.tokens, "{} / {} {:+.3%}", relative=True, width=32),
        _cell(each.kv_gib, "{:.2f} / {:.2f} {:+.2f}", relative=False, width=22),
    ]
    return f"{each.label}{''.join(cells)}  {each.verdict} / {each.outcome.split(':')[0]}"


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
