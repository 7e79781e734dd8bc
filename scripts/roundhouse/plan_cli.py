"""`scripts/plan.py`: what one engine puts on a card, in GiB and tokens, before anything is downloaded."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import calibrate, engine_defaults, explain, output, plan_question
from .catalog import Unknown
from .errors import RoundhouseError, UsageError
from .fit import FITS, UNKNOWN, Fit, Question, fit
from .fit_kv import KV_DTYPE_BYTES
from .fit_text import as_json, text
from .plan_question import Asked

EPILOG = """\
The verdict: fits (room for max_model_len at the pessimistic end of the overhead), tight (between the
ends), no (not even at the optimistic end), unknown (the formulas do not cover the model). gap_gib is what
is missing on each card, negative when it is to spare; it and max_model_len_possible are taken at the
overhead's expected value. Exit 0 for an answer, whatever the verdict; 2 for
a question that cannot be meant.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = output.Parser(
        prog="plan.py",
        description="Say what fits which card, in GiB and tokens, before anything is downloaded.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    made.add_argument("--explain", action="store_true", help="show each term with its formula and source")
    made.add_argument("--model", metavar="REPO|FOLDER", help="a hub's owner/name, or a folder with a config.json")
    made.add_argument("--quantization", metavar="FORMAT", help="awq, gptq-int4, gptq-int8, fp8, w4a16, ...")
    made.add_argument("--vram-gib", type=float, metavar="GIB", help="what CUDA states as the card's total memory")
    made.add_argument("--gpu", metavar="NAME", help='a card by name, such as "RTX 4090": bandwidth, capability')
    made.add_argument("--gpus", type=int, metavar="N", help="how many such cards the host has")
    made.add_argument("--gpu-memory-utilization", type=float, default=engine_defaults.UTILIZATION, metavar="SHARE")
    made.add_argument("--max-model-len", type=int, metavar="TOKENS", help="prompt and answer (default: the model's)")
    made.add_argument("--kv-cache-dtype", default="auto", metavar="TYPE", help=f"one of {', '.join(KV_DTYPE_BYTES)}")
    made.add_argument("--tensor-parallel-size", type=int, default=1, metavar="N", help="cards that share the model")
    made.add_argument("--max-num-seqs", type=int, metavar="N", help="requests at once (default: vLLM's for the card)")
    made.add_argument("--max-num-batched-tokens", type=int, metavar="N", help="tokens a step (default: vLLM's)")
    made.add_argument("--enforce-eager", action="store_true", help="no CUDA graphs")
    made.add_argument("--vllm-version", metavar="V", help="the engine (default: the pinned one)")
    made.add_argument("--shared-display", action="store_true", help="a desktop or WSL uses the card too")
    made.add_argument("--calibrate", type=Path, metavar="FILE", help="predicted beside stated for a start-logs.json")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = parser().parse_args(arguments)
        if args.calibrate:
            print(calibrate.report(args.calibrate))
            return 0
        asked = _ask(args)
    except RoundhouseError as error:
        return output.refuse(error, as_json="--json" in arguments)
    if isinstance(asked, Unknown):
        found = Fit(UNKNOWN, (asked.reason,))
        print(json.dumps(as_json(found, ())) if args.json else f"{asked.name}: unknown. {asked.reason}")
        return 0
    found = fit(asked.question)
    rows = explain.rows(asked.question, found) if args.explain else []
    if args.json:
        print(json.dumps(as_json(found, asked.notes) | ({"explain": rows} if args.explain else {})))
    else:
        print("\n".join([text(asked, found), *([explain.text(rows)] if rows else [])]))
    return 0


def _ask(args: argparse.Namespace) -> Asked | Unknown:
    if args.model is None:
        raise UsageError("usage", "--model is missing: write a hub's owner/name, or a folder with a config.json.")
    counts = ("max_model_len", "tensor_parallel_size", "max_num_seqs", "max_num_batched_tokens", "gpus")
    plan_question.check(
        gpu_memory_utilization=args.gpu_memory_utilization,
        kv_cache_dtype=args.kv_cache_dtype,
        counts={field.replace("_", "-"): vars(args)[field] for field in counts},
    )
    ranks = args.tensor_parallel_size
    if args.gpus and ranks > args.gpus:
        raise UsageError("gpus", f"--gpus is {args.gpus} and --tensor-parallel-size {ranks}: write at least as many.")
    card, card_gib = plan_question.card(args.gpu, args.vram_gib)
    engine = plan_question.engine(args.vllm_version)
    found = plan_question.model(args.model, args.quantization)
    if isinstance(found, Unknown):
        return found
    question = Question(
        model=found,
        card_gib=card_gib,
        max_model_len=plan_question.max_model_len(args.max_model_len, found),
        gpu_memory_utilization=args.gpu_memory_utilization,
        kv_cache_dtype=args.kv_cache_dtype,
        tensor_parallel_size=ranks,
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        enforce_eager=args.enforce_eager,
        engine=engine,
        capability=card.capability if card else None,
        bandwidth_gb_s=card.bandwidth_gb_s if card else None,
        a100="a100" in (args.gpu or "").lower(),
        shared_display=args.shared_display,
    )
    notes = plan_question.notes(question, args.gpu, card)
    return Asked(question, card.name if card else None, (*notes, *_more_cards(question, args.gpus)))


def _more_cards(question: Question, gpus: int | None) -> tuple[str, ...]:
    """Return a sentence when the host's other cards would carry what one cannot."""
    if not gpus or gpus <= question.tensor_parallel_size or fit(question).verdict == FITS:
        return ()
    for ranks in range(question.tensor_parallel_size + 1, gpus + 1):
        if fit(question._replace(tensor_parallel_size=ranks)).verdict == FITS:
            return (f"With --tensor-parallel-size {ranks} it fits.",)
    return (f"No number of {gpus} cards makes it fit.",)
