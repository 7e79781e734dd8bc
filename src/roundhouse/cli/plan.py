"""`scripts/plan.py`: what fits which card, in GiB and tokens, before anything is downloaded.

The plan of a whole roster or of one model, for this host or for cards that are named.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..catalog import gpus as catalog_gpus
from ..catalog.model_families import Unknown
from ..errors import RoundhouseError, UsageError
from ..fit import report as fit_report
from ..fit import request
from ..fit.estimate import FITS, UNKNOWN, Fit, Question, fit
from ..fit.report import NUMBERS, as_json, text
from ..fit.request import NotedQuestion
from ..host import gpu
from ..models import own_folders
from ..paths import CHECKOUT
from ..plan import build, measured
from ..plan import report as plan_report
from ..plan.candidates import lookup
from ..plan.decide import Host, question_of
from ..plan.requirements import requirements_of
from ..roster.models import Configs
from ..schema.facts import ExplainRow
from ..schema.plan import Plan
from ..util import console, yaml_file
from ..vllm import defaults
from ..vllm.formats import KV_DTYPE_BYTES

# What is asked before a deployment is asked of a GPU host as it is shipped: with the official image.
SETTINGS = build.Settings(
    accelerator="cuda", engine_path="", models_store="", start_timeout_seconds=None, runtime=build.COMPOSE
)
ROSTER = CHECKOUT / "group_vars/all/agents.yml"
# The keys of each agent in the JSON, besides the numbers of its fit.
_KEYS = (
    *("name", "model", "quantization", "quantize", "max_model_len", "kv_cache_dtype", "gpus", "gpu_memory_utilization"),
    *("max_num_seqs", "max_num_batched_tokens", "verdict", "given_up", "refused", "notes"),
)


def answer(args: argparse.Namespace) -> tuple[str, int]:
    """Return the plan of the roster as text or JSON, and 0 when something fits for each agent, 1 otherwise."""
    _check_roster_options(args)
    agents = read(args.roster)
    named = args.gpu is not None or args.vram_gib is not None
    notes, host = _named_cards(args) if named else ([], _this_host(agents))
    made = build.build(agents, SETTINGS, host)
    status = 1 if made["problems"] else 0
    reasons = _explained(agents, made, host) if args.explain else {}
    if args.json:
        answer = _plan_as_json(made)
        for agent in answer["agents"] if args.explain else []:
            agent["explain"] = reasons.get(agent["name"], [])
        return json.dumps(answer), status
    shown = [*notes, plan_report.text(made, [] if named else measured.load())]
    for name, rows in reasons.items():
        shown += ["", f"{name}:", fit_report.explanation(rows)]
    return "\n".join(shown), status


def _explained(agents: Any, made: Plan, host: Host) -> dict[str, list[ExplainRow]]:
    """Return, by agent, the rows of explain for what was computed."""
    found = {}
    for agent, decided in zip(agents, made["agents"], strict=True):
        question = question_of(decided, requirements_of(agent, host.configs), host)
        if question:
            found[agent["name"]] = fit_report.rows(question, fit(question))
    return found


def _plan_as_json(made: Plan) -> dict[str, Any]:
    """Return a plan for programs."""
    agents: list[dict[str, Any]] = [{**agent} for agent in made["agents"]]
    return {
        "schema": console.SCHEMA,
        "ok": not made["problems"],
        "errors": [RoundhouseError("does_not_fit", sentence).as_json() for sentence in made["problems"]],
        "agents": [{name: it[name] for name in _KEYS} | (it["fit"] or dict.fromkeys(NUMBERS)) for it in agents],
    }


def read(path: Path) -> Any:
    """Return the `agents` of a roster file. Raises UsageError where it cannot be read."""
    if path == ROSTER and not path.exists():
        remedy = "Name one with --roster, ask with --model, or run scripts/plan.py of a checkout."
        raise UsageError("roster_missing", "No roster is named.", remedy)
    try:
        content = yaml_file.read(path)
    except ModuleNotFoundError:
        remedy = "Run pip install 'roundhouse[import]' (in a checkout: make setup), or ask with --model."
        raise UsageError("pyyaml_missing", "PyYAML is not installed.", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        text, why = "--roster is {path!r}, which cannot be read ({why}).", " ".join(str(error).split())
        raise UsageError("roster_unreadable", text, path=str(path), why=why) from None
    if not isinstance(content, dict) or "agents" not in content:
        raise UsageError("roster_without_agents", "--roster is {path!r}, and has no list under agents.", path=str(path))
    return content["agents"]


def imagined(
    card: catalog_gpus.Card | None, count: int, *, total_gib: float | None = None, display: bool = False
) -> Host:
    """Return a host with `count` cards of a kind, or of `total_gib` where the kind is not known."""
    one = catalog_gpus.HostCard(
        number=0,
        name=card.name if card else "a card",
        cuda_gib=total_gib or (catalog_gpus.total_gib(card) if card else None),
        capability=card.capability if card else None,
        bandwidth_gb_s=card.bandwidth_gb_s if card else None,
        shared_display=display,
    )
    return Host(tuple(one._replace(number=number) for number in range(count)))


def _named_cards(args: argparse.Namespace) -> tuple[list[str], Host]:
    """Return lines on what is assumed, and a host with the cards that are asked for."""
    known, total = request.card(args.gpu, args.vram_gib)
    host = imagined(known, args.gpus or 1, total_gib=total, display=args.shared_display)
    many = f"{len(host.cards)} x " if len(host.cards) > 1 else ""
    note = request.card_note(known, args.vram_gib, total)
    return [f"{many}{host.cards[0].name} of {total:g} GiB", *([note] if note else []), ""], host


def _this_host(agents: object) -> Host:
    facts = gpu.facts()
    if not facts["gpus"]:
        raise UsageError("gpu_missing", "This machine has no NVIDIA GPU.", "Name the card with --gpu or --vram-gib.")
    configs: Configs = own_folders.configs(agents)
    # The rest is not asked of this host.
    cards = catalog_gpus.of_host(facts["gpus"])
    return Host(cards=cards, configs=configs, measurements=lookup(measured.load(), configs))


EPILOG = """\
Without --model: the plan of the roster, on this host's cards or on those of --gpu, --vram-gib and --gpus. Exit 0 when
something fits for each agent, 1 otherwise.

The verdict: fits (room for max_model_len at the pessimistic end of the overhead), tight (between the
ends), no (not even at the optimistic end), unknown (the formulas do not cover the model). gap_gib is what
is missing on each card, negative when it is to spare; it and max_model_len_possible are taken at the
overhead's expected value. A single question exits with 0, whatever the verdict; invalid options with 2.
"""
# What only a single question takes; a roster says it itself.
_SINGLE = (
    *("quantization", "gpu_memory_utilization", "max_model_len", "kv_cache_dtype", "tensor_parallel_size"),
    *("max_num_seqs", "max_num_batched_tokens", "enforce_eager", "compile_cache"),
)
# Options of earlier versions.
_GONE = {
    "--calibrate": "run benchmarks/calibration.py with the file",
    "--vllm-version": "the fit is that of the pinned engine",
}


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = console.Parser(
        prog=console.command_name("plan.py", "roundhouse-plan"),
        description="Compute what fits which card, in GiB and tokens, before anything is downloaded.",
        epilog=EPILOG,
    )
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    made.add_argument("--explain", action="store_true", help="show each term with its formula and source")
    made.add_argument(
        "--roster", type=Path, default=ROSTER, metavar="FILE", help="the agents (default: group_vars/all/agents.yml)"
    )
    for option in _GONE:
        made.add_argument(option, nargs="?", const="", help=argparse.SUPPRESS)
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
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return console.until_read(lambda: _main(list(sys.argv[1:] if argv is None else argv)))


def _main(arguments: list[str]) -> int:
    try:
        args = parser().parse_args(arguments)
        for option, why in _GONE.items():
            if vars(args)[option.strip("-").replace("-", "_")] is not None:
                raise UsageError("option_gone", "{option} is gone: {why}.", option=option, why=why)
        shown, status = answer(args) if args.model is None else (_single(args), 0)
    except RoundhouseError as error:
        return console.refuse(error, as_json="--json" in arguments)
    print(shown)
    return status


def _check_roster_options(args: argparse.Namespace) -> None:
    for name in _SINGLE:
        if vars(args)[name]:
            option = f"--{name.replace('_', '-')}"
            text, remedy = "{option} asks about a single model.", "Add --model, or write {setting} in the roster."
            raise UsageError("model_missing", text, remedy, option=option, setting=name)
    request.check_count("gpus", args.gpus)
    if args.gpu is None and args.vram_gib is None and (args.gpus or args.shared_display):
        option = "--gpus" if args.gpus else "--shared-display"
        text = "{option} is about cards that are named."
        raise UsageError("card_missing", text, "Add --gpu or --vram-gib.", option=option)


def _single(args: argparse.Namespace) -> str:
    asked = _ask(args)
    if isinstance(asked, Unknown):
        unknown = json.dumps(as_json(Fit(UNKNOWN, (asked.reason,)), ()))
        return unknown if args.json else f"{asked.name}: unknown. {asked.reason}"
    found = fit(asked.question)
    rows = fit_report.rows(asked.question, found) if args.explain else []
    if args.json:
        return json.dumps(as_json(found, asked.notes) | ({"explain": rows} if args.explain else {}))
    return "\n".join([text(asked, found), *([fit_report.explanation(rows)] if rows else [])])


def _ask(args: argparse.Namespace) -> NotedQuestion | Unknown:
    request.check(vars(args))
    card, card_gib = request.card(args.gpu, args.vram_gib)
    found = request.model(args.model, args.quantization)
    if isinstance(found, Unknown):
        return found
    question = Question(
        model=found,
        card_gib=card_gib,
        max_model_len=request.max_model_len(args.max_model_len, found),
        gpu_memory_utilization=args.gpu_memory_utilization or defaults.UTILIZATION,
        kv_cache_dtype=args.kv_cache_dtype or "auto",
        tensor_parallel_size=args.tensor_parallel_size or 1,
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        enforce_eager=args.enforce_eager,
        capability=card.capability if card else None,
        bandwidth_gb_s=card.bandwidth_gb_s if card else None,
        a100="a100" in (args.gpu or "").lower(),
        shared_display=args.shared_display,
        tries_kernels={"cold": True, "warm": False}.get(args.compile_cache),
    )
    taken = request.card_note(card, args.vram_gib, card_gib)
    notes = (*request.notes(question, args.gpu, card), *([taken] if taken else []))
    return NotedQuestion(question, card.name if card else None, (*notes, *_more_cards(question, args.gpus)))


def _more_cards(question: Question, gpus: int | None) -> tuple[str, ...]:
    """Return a sentence when the host's other cards would carry what one cannot."""
    if not gpus or gpus <= question.tensor_parallel_size or fit(question).verdict == FITS:
        return ()
    for ranks in range(question.tensor_parallel_size + 1, gpus + 1):
        if fit(question._replace(tensor_parallel_size=ranks)).verdict == FITS:
            return (f"With --tensor-parallel-size {ranks} it fits.",)
    return (f"No number of {gpus} cards makes it fit.",)
