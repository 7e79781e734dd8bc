"""Answer `plan.py suggest`: candidates for each role on given cards, and the roster that deploys the best ones."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import UsageError
from ..plan import suggest
from ..plan.decide import Host
from ..plan.suggest import Candidate
from ..util import console, files


def answer(args: argparse.Namespace, cards: str, host: Host) -> tuple[str, int]:
    """Return the candidates as text or JSON, and the exit status: 0 if a model of each role fits."""
    found, text = result(args, cards, host)
    status = 0 if found["complete"] else 1
    return (json.dumps({"schema": console.SCHEMA, "ok": True, "errors": [], **found}) if args.json else text), status


def result(args: argparse.Namespace, cards: str, host: Host) -> tuple[dict[str, Any], str]:
    """Return the candidates as an object and as text. With --write the roster goes into a new file."""
    found = suggest.suggestions(host)
    agents = suggest.roster(found, suggest.share(host))
    if args.write:
        if args.write.exists():
            text, remedy = "--write {path} exists.", "Name a new file, or remove it."
            raise UsageError("roster_exists", text, remedy, path=str(args.write))
        files.write(args.write, suggest.text(agents, cards))
    lines = [cards, ""]
    for role, entries in found.items():
        lines += [f"{role}:", console.table(_COLUMNS, [_shown(each) for each in entries]), ""]
    written = f"The roster is in {args.write}."
    lines.append(written if args.write else "--write FILE writes a roster of the first that fit.")
    rows = [_row(each) for entries in found.values() for each in entries]
    return {"agents": agents, "models": rows, "complete": len(agents) == len(found)}, "\n".join(lines)


_COLUMNS = ("model", "verdict", "weights", "context", "KV cache", "tokens/s", "released", "licence")


def _row(each: Candidate) -> dict[str, object]:
    """Return a candidate as JSON: null where it does not fit."""
    question, found = each.question, each.fit
    return {
        "role": each.role,
        "model": each.model,
        "fits": question is not None,
        "reason": each.reason,
        "weights_gib_per_rank": found and found.weights_gib_per_rank,
        "kv_tokens": found and found.kv_tokens,
        "kv_cache_dtype": question and question.kv_cache_dtype,
        "max_model_len": question and question.max_model_len,
        "gpus": question and question.tensor_parallel_size,
        "decode_ceiling_tokens_per_second": found and found.decode_ceiling_tokens_per_second,
        "released": each.facts["released"],
        "licence": each.facts["licence"],
        "source": suggest.read()["source"],
    }


def _shown(each: Candidate) -> dict[str, object]:
    question, found = each.question, each.fit
    facts = {"model": each.model, "released": each.facts["released"], "licence": each.facts["licence"]}
    if question is None or found is None:
        return {**facts, "verdict": "no", **dict.fromkeys(_COLUMNS[2:6], "")}
    cards = f"{question.tensor_parallel_size} x " if question.tensor_parallel_size > 1 else ""
    ceiling = found.decode_ceiling_tokens_per_second
    return {
        **facts,
        "verdict": "fits",
        "weights": f"{cards}{found.weights_gib_per_rank:.1f} GiB",
        "context": f"{question.max_model_len:,}",
        "KV cache": f"{found.kv_tokens:,}{' fp8' if question.kv_cache_dtype == 'fp8' else ''}",
        "tokens/s": f"<= {ceiling:.0f}" if ceiling else "unknown",
    }
