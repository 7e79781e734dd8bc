"""`scripts/plan.py`: what goes on which card, in GiB and tokens, before anything is downloaded."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import calibrate, engine_defaults, explain, output, plan_question, plan_roster
from .catalog import Unknown
from .errors import RoundhouseError, UsageError
from .fit import FITS, UNKNOWN, Fit, Question, fit
from .fit_kv import KV_DTYPE_BYTES
from .fit_text import as_json, text
from .plan_question import Asked

EPILOG = """\
Without --model: the plan of the roster, on this host's cards or on those of --gpu, --vram-gib and --gpus. Exit 0 when
something fits for each agent, 1 otherwise.

The verdict: fits (room for max_model_len at the pessimistic end of the overhead), tight (between the
ends), no (not even at the optimistic end), unknown (the formulas do not cover the model). gap_gib is what
is missing on each card, negative when it is to spare; it and max_model_len_possible are taken at the
overhead's expected value. A single question is answered with exit 0, whatever the verdict; 2 for
a question that cannot be meant.
"""
# What only a single question takes; a roster says it itself.
_SINGLE = (
    *("quantization", "gpu_memory_utilization", "max_model_len", "kv_cache_dtype", "tensor_parallel_size"),
    *("max_num_seqs", "max_num_batched_tokens", "enforce_eager", "compile_cache", "vllm_version"),
)


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
    made.add_argument(
        "--roster",
        type=Path,
        default=plan_roster.ROSTER,
        metavar="FILE",
        help="the agents (default: group_vars/all/agents.yml)",
    )
    made.add_argument("--calibrate", type=Path, metavar="FILE", help="predicted beside stated for a start-logs.json")
    cards = made.add_argument_group("cards")
    cards.add_argument("--gpu", metavar="NAME", help='a card by name, such as "RTX 4090": bandwidth, capability')
    cards.add_argument("--vram-gib", type=float, metavar="GIB", help="what CUDA states as the card's total memory")
    cards.add_argument("--gpus", type=int, metavar="N", help="how many such cards the host has")
    cards.add_argument("--shared-display", action="store_true", help="a desktop or WSL uses the card too")
    single = made.add_argument_group("a single question")
    single.add_argument("--model", metavar="REPO|FOLDER", help="a hub's owner/name, or a folder with a config.json")
    single.add_argument("--quantization", metavar="FORMAT", help="awq, gptq-int4, gptq-int8, fp8, w4a16, ...")
    single.add_argument("--gpu-memory-utilization", type=float, metavar="SHARE", help="(default: vLLM's)")
    single.add_argument("--max-model-len", type=int, metavar="TOKENS", help="prompt and answer (default: the model's)")
    single.add_argument("--kv-cache-dtype", metavar="TYPE", help=f"one of {', '.join(KV_DTYPE_BYTES)}")
    single.add_argument("--tensor-parallel-size", type=int, metavar="N", help="cards that share the model")
    single.add_argument("--max-num-seqs", type=int, metavar="N", help="requests at once (default: vLLM's for the card)")
    single.add_argument("--max-num-batched-tokens", type=int, metavar="N", help="tokens a step (default: vLLM's)")
    single.add_argument("--enforce-eager", action="store_true", help="no CUDA graphs")
    single.add_argument(
        "--compile-cache", choices=("cold", "warm"), help="whether the start compiles (default: not known)"
    )
    single.add_argument("--vllm-version", metavar="V", help="the engine (default: the pinned one)")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = parser().parse_args(arguments)
        if args.calibrate:
            print(calibrate.report(args.calibrate, as_json=args.json))
            return 0
        if args.model is None:
            shown, status = plan_roster.answer(_of_a_roster(args))
            print(shown)
            return status
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


def _of_a_roster(args: argparse.Namespace) -> argparse.Namespace:
    for name in _SINGLE:
        if vars(args)[name]:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                "usage", f"{option} asks about a single model: add --model, or write {name} in the roster."
            )
    plan_question.check_counts({"gpus": args.gpus})
    imagined = args.gpu is not None or args.vram_gib is not None
    if not imagined and (args.gpus or args.shared_display):
        option = "--gpus" if args.gpus else "--shared-display"
        raise UsageError("usage", f"{option} is about cards that one only thinks of: add --gpu or --vram-gib.")
    return args


def _ask(args: argparse.Namespace) -> Asked | Unknown:
    ranks = 1 if args.tensor_parallel_size is None else args.tensor_parallel_size
    share = engine_defaults.UTILIZATION if args.gpu_memory_utilization is None else args.gpu_memory_utilization
    dtype = args.kv_cache_dtype or "auto"
    counts = ("max_model_len", "tensor_parallel_size", "max_num_seqs", "max_num_batched_tokens", "gpus")
    plan_question.check(gpu_memory_utilization=share, kv_cache_dtype=dtype)
    plan_question.check_counts({field.replace("_", "-"): vars(args)[field] for field in counts})
    plan_question.check_batch(args.max_num_seqs, args.max_num_batched_tokens)
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
        gpu_memory_utilization=share,
        kv_cache_dtype=dtype,
        tensor_parallel_size=ranks,
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        enforce_eager=args.enforce_eager,
        engine=engine,
        capability=card.capability if card else None,
        bandwidth_gb_s=card.bandwidth_gb_s if card else None,
        a100="a100" in (args.gpu or "").lower(),
        shared_display=args.shared_display,
        tries_kernels={"cold": True, "warm": False}.get(args.compile_cache),
    )
    taken = plan_question.card_note(card, args.vram_gib, card_gib)
    notes = (*plan_question.notes(question, args.gpu, card), *([taken] if taken else []))
    return Asked(question, card.name if card else None, (*notes, *_more_cards(question, args.gpus)))


def _more_cards(question: Question, gpus: int | None) -> tuple[str, ...]:
    """Return a sentence when the host's other cards would carry what one cannot."""
    if not gpus or gpus <= question.tensor_parallel_size or fit(question).verdict == FITS:
        return ()
    for ranks in range(question.tensor_parallel_size + 1, gpus + 1):
        if fit(question._replace(tensor_parallel_size=ranks)).verdict == FITS:
            return (f"With --tensor-parallel-size {ranks} it fits.",)
    return (f"No number of {gpus} cards makes it fit.",)
