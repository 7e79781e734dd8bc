"""Define the command line of `scripts/plan.py`, and refuse options that do not belong together."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import UsageError
from ..fit import request
from ..paths import CHECKOUT
from ..util import console
from ..vllm import defaults
from ..vllm.formats import KV_DTYPE_BYTES

ROSTER = CHECKOUT / "group_vars/all/agents.yml"
EPILOG = """\
Without --model, the command plans the roster on this host's cards, or on those of --gpu, --vram-gib and --gpus.

verdict:
  fits     max_model_len fits at the upper end of the overhead
  tight    max_model_len fits at the lower end of the overhead only
  no       max_model_len does not fit at the lower end of the overhead
  unknown  the formulas do not cover the model

In JSON, gap_gib is the memory missing on each card, negative for spare memory. gap_gib and max_model_len_possible
assume the expected overhead.

exit status:
  0  roster: a model of each agent fits
     one model: it fits; without --max-model-len, a shorter length is sufficient
  1  a model does not fit, is tight, or is unknown; an agent with policy: exact accepts tight if gap_gib is 0 or less
  2  an option is invalid, or vLLM does not support the card
"""
# Options of one model; a roster has settings for them.
_SINGLE = (
    *("quantization", "gpu_memory_utilization", "max_model_len", "kv_cache_dtype", "tensor_parallel_size"),
    *("max_num_seqs", "max_num_batched_tokens", "enforce_eager", "compile_cache", "lora", "mtp", "cpu_offload_gib"),
    *("pipeline_parallel_size", "language_model_only", "free_gib", "engine_version", "hub", "rough"),
)
# Options that earlier versions had.
GONE = {
    "--calibrate": "Run benchmarks/calibration.py with the file",
    "--vllm-version": "Write --engine-version, or omit it for the pinned engine",
}


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = console.Parser(
        prog=console.command_name("plan.py", "roundhouse-plan"),
        description="Compute what fits which card, in GiB and tokens, before a download.",
        epilog=EPILOG,
    )
    made.add_argument(
        "word",
        nargs="?",
        choices=("suggest",),
        help="suggest: list models for each role on the cards",
    )
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    made.add_argument("--write", type=Path, metavar="FILE", help="with suggest: write the roster into a new file")
    made.add_argument("--explain", action="store_true", help="show each number with its formula and source")
    made.add_argument("--details", action="store_true", help="show the memory, reduced settings and reasons")
    made.add_argument(
        "--roster", type=Path, default=ROSTER, metavar="FILE", help="the agents (default: group_vars/all/agents.yml)"
    )
    for option in GONE:
        made.add_argument(option, nargs="?", const="", help=argparse.SUPPRESS)
    _add_cards(made.add_argument_group("cards"))
    _add_model(made.add_argument_group("one model"))
    _add_engine_options(made.add_argument_group("one model's engine"))
    return made


def _add_cards(cards: argparse._ArgumentGroup) -> None:
    cards.add_argument("--gpu", metavar="NAME", help='a card by name, such as "RTX 4090" or 4090')
    cards.add_argument("--list-gpus", action="store_true", help="list the cards that --gpu knows")
    cards.add_argument("--vram-gib", type=float, metavar="GIB", help="the card's total memory as CUDA states it")
    cards.add_argument("--gpus", type=int, metavar="N", help="number of these cards in the host (default: 1)")
    cards.add_argument("--shared-display", action="store_true", help="a desktop or WSL also uses the card")


def _add_model(single: argparse._ArgumentGroup) -> None:
    single.add_argument("--model", metavar="REPO|FOLDER", help="a hub's owner/name, or a folder with its config.json")
    single.add_argument("--quantization", metavar="FORMAT", help="awq, gptq-int4, gptq-int8, fp8, w4a16, ...")
    single.add_argument(
        "--gpu-memory-utilization", type=float, metavar="SHARE", help="share of the memory, 0 to 1 (default: vLLM's)"
    )
    single.add_argument(
        "--max-model-len", type=int, metavar="TOKENS", help="prompt and answer together (default: the model's)"
    )
    single.add_argument("--kv-cache-dtype", metavar="TYPE", help=f"one of {', '.join(KV_DTYPE_BYTES)}")
    single.add_argument("--tensor-parallel-size", type=int, metavar="N", help="number of cards for one model")
    single.add_argument("--max-num-seqs", type=int, metavar="N", help="requests in parallel (default: vLLM's)")
    single.add_argument("--max-num-batched-tokens", type=int, metavar="N", help="tokens per step (default: vLLM's)")
    single.add_argument("--enforce-eager", action="store_true", help="no CUDA graphs")
    single.add_argument(
        "--compile-cache",
        choices=("cold", "warm"),
        help="whether the start compiles; warm: no (default: unknown)",
    )


def _add_engine_options(engine: argparse._ArgumentGroup) -> None:
    engine.add_argument(
        "--hub", action="store_true", help="read config.json and the weights' headers from the hub first"
    )
    engine.add_argument(
        "--rough", action="store_true", help="plan an uncovered architecture by its files' sizes, within 15 %%"
    )
    engine.add_argument("--lora", type=int, metavar="SLOTS", help="LoRA adapters at once (max_loras), of rank 16")
    engine.add_argument("--mtp", type=int, metavar="TOKENS", help="tokens that the model's own layers draft")
    engine.add_argument("--cpu-offload-gib", type=float, metavar="GIB", help="each card's weights in the host's memory")
    engine.add_argument("--pipeline-parallel-size", type=int, metavar="N", help="stages of layers, each on its cards")
    engine.add_argument("--language-model-only", action="store_true", help="without the image encoder")
    engine.add_argument("--free-gib", type=float, metavar="GIB", help="the card's free memory before the start")
    engine.add_argument("--engine-version", metavar="VERSION", help=f"vLLM's version (default: {defaults.PINNED})")


def check_roster_options(args: argparse.Namespace) -> None:
    """Raise UsageError for an option of one model, or of cards, that a plan of the roster does not accept."""
    for name in _SINGLE:
        if vars(args)[name]:
            option = f"--{name.replace('_', '-')}"
            text, remedy = "{option} applies to a single model.", "Add --model, or write {setting} in the roster."
            raise UsageError("model_missing", text, remedy, option=option, setting=name)
    request.check_count("gpus", args.gpus)
    if args.gpu is None and args.vram_gib is None and (args.gpus or args.shared_display):
        option = "--gpus" if args.gpus else "--shared-display"
        text = "{option} applies to cards that the command names."
        raise UsageError("card_missing", text, "Add --gpu or --vram-gib.", option=option)
