"""`scripts/plan.py`: compute what fits which card, in GiB and tokens, before a download.

The command plans a whole roster or one model, for this host or for the cards of its options.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..catalog import gpus as catalog_gpus
from ..catalog.gpus import Card, LegacyCard
from ..errors import RoundhouseError, UsageError
from ..fit import report as fit_report
from ..fit import request
from ..fit.estimate import fit
from ..fit.report import NUMBERS
from ..models import known, own_folders
from ..plan import build, host_cards, measured
from ..plan import report as plan_report
from ..plan.candidates import lookup
from ..plan.decide import Host, question_of
from ..plan.requirements import requirements_of
from ..roster.models import Configs
from ..schema.plan import Plan
from ..util import console, yaml_file
from ..util.pairs import pairs
from . import plan_options, plan_question, plan_suggest

if TYPE_CHECKING:
    from roundhouse.schema.facts import ExplainRow

# A plan before a deployment assumes a GPU host with the official image, which is the default.
SETTINGS = build.Settings(
    accelerator="cuda", engine_path="", models_store="", start_timeout_seconds=None, runtime=build.COMPOSE
)
DETAILS = "--details shows the memory, the reduced settings and the reasons."
# The keys of each agent in the JSON, besides the numbers of its fit.
_KEYS = (
    *("name", "model", "quantization", "quantize", "max_model_len", "kv_cache_dtype", "gpus", "gpu_memory_utilization"),
    *("max_num_seqs", "max_num_batched_tokens", "verdict", "given_up", "refused", "notes"),
)


def answer(args: argparse.Namespace) -> tuple[str, int]:
    """Return the plan of the roster as text or JSON, and the exit status: 0 if a model of each agent fits."""
    plan_options.check_roster_options(args)
    agents = read(args.roster)
    named = args.gpu is not None or args.vram_gib is not None
    notes, host = _named_cards(args) if named else ([], _this_host(agents))
    host = host._replace(configs={**known.configs(args.roster.with_name(known.NAME)), **host.configs})
    made = build.build(agents, SETTINGS, host)
    status = 1 if made["problems"] else 0
    reasons = _explained(agents, made, host) if args.explain else {}
    if args.json:
        answer = _plan_as_json(made)
        for agent in answer["agents"] if args.explain else []:
            agent["explain"] = reasons.get(agent["name"], [])
        return json.dumps(answer), status
    if not (args.details or args.explain):
        problems = build.settings_problems(agents, host, SETTINGS.accelerator)
        shown = [*notes, plan_report.summary(made), *plan_report.cards(made), *problems, "", DETAILS]
        return "\n".join(shown), status
    shown = [*notes, plan_report.text(made, [] if named else measured.load())]
    for name, rows in reasons.items():
        shown += ["", f"{name}:", fit_report.explanation(rows)]
    return "\n".join(shown), status


def _explained(agents: Any, made: Plan, host: Host) -> dict[str, list[ExplainRow]]:
    """Return the rows of --explain for each agent with a computed fit."""
    found = {}
    for agent, decided in pairs(agents, made["agents"]):
        question = question_of(decided, requirements_of(agent, host.configs), host)
        if question:
            found[agent["name"]] = fit_report.rows(question, fit(question))
    return found


def _plan_as_json(made: Plan) -> dict[str, Any]:
    """Return a plan as JSON."""
    agents: list[dict[str, Any]] = [{**agent} for agent in made["agents"]]
    return {
        "schema": console.SCHEMA,
        "ok": not made["problems"],
        "errors": [RoundhouseError("does_not_fit", sentence).as_json() for sentence in made["problems"]],
        "agents": [{name: it[name] for name in _KEYS} | (it["fit"] or dict.fromkeys(NUMBERS)) for it in agents],
    }


def read(path: Path) -> Any:
    """Return the `agents` of a roster file. Raises UsageError where it cannot be read."""
    if path == plan_options.ROSTER and not path.exists():
        remedy = "Name it with --roster, ask about one --model, or run scripts/plan.py in a checkout."
        raise UsageError("roster_missing", "A roster is missing.", remedy)
    try:
        content = yaml_file.read(path)
    except ModuleNotFoundError:
        remedy = "Run pip install 'roundhouse[import]' (in a checkout: make setup), or ask about one --model."
        raise UsageError("pyyaml_missing", "PyYAML is not installed.", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        text, why = "--roster {path} cannot be read ({why}).", " ".join(str(error).split())
        remedy = "Name a readable YAML file."
        raise UsageError("roster_unreadable", text, remedy, path=str(path), why=why) from None
    if not isinstance(content, dict) or "agents" not in content:
        text, remedy = "--roster {path} has no list named agents.", "Begin the file with `agents:`."
        raise UsageError("roster_without_agents", text, remedy, path=str(path))
    return content["agents"]


def _named_cards(args: argparse.Namespace) -> tuple[list[str], Host]:
    """Return lines on the assumptions, and a host with the cards of the options."""
    known, total = request.card(args.gpu, args.vram_gib)
    host = plan_question.imagined(known, args.gpus or 1, total_gib=total, display=args.shared_display)
    many = f"{len(host.cards)} x " if len(host.cards) > 1 else ""
    notes = request.card_notes(known, args.vram_gib, total)
    name, unlisted = host.cards[0].name, ""
    if args.gpu and not known:
        name, unlisted = args.gpu, ", if vLLM supports this card: it is not in the catalog"
    return [f"{many}{name} of {total:g} GiB{unlisted}", *notes, ""], host


def suggested_cards(args: argparse.Namespace) -> tuple[str, Host]:
    """Return the cards of the options or of this machine in words, and a host with them."""
    request.check_count("gpus", args.gpus)
    if args.gpu is None and args.vram_gib is None:
        host = _this_host([])
        return f"{len(host.cards)} x {host.cards[0].name}", host
    notes, host = _named_cards(args)
    return notes[0], host


def _this_host(agents: object) -> Host:
    from ..host import gpu  # with ctypes; not needed for cards that the command names

    cards = plan_question.own_cards()
    configs: Configs = own_folders.configs(agents)
    # The other facts are not needed here.
    others = host_cards.without_driver(gpu.facts()["gpus"])
    return Host(cards=cards, other_cards=others, configs=configs, measurements=lookup(measured.load(), configs))


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return console.until_read(lambda: _main(list(sys.argv[1:] if argv is None else argv)))


def _main(arguments: list[str]) -> int:
    try:
        args = plan_options.parser().parse_args(arguments)
        for option, why in plan_options.GONE.items():
            if vars(args)[option.strip("-").replace("-", "_")] is not None:
                raise UsageError("option_gone", "{option} was removed.", "{why}.", option=option, why=why)
        shown, status = _shown(args)
    except RoundhouseError as error:
        return console.refuse(error, as_json="--json" in arguments)
    print(shown)
    return status


def _shown(args: argparse.Namespace) -> tuple[str, int]:
    """Return what to print, text in the width of the terminal, and the exit status."""
    if args.list_gpus:
        return _gpu_list(as_json=args.json), 0
    if args.word:
        return plan_suggest.answer(args, *suggested_cards(args))
    if args.write:
        raise UsageError("write_without_suggest", "--write applies to suggest.", "Add the word suggest.")
    shown, status = answer(args) if args.model is None else plan_question.answer(args)
    return shown if args.json else console.wrapped(shown), status


def _gpu_list(*, as_json: bool) -> str:
    """Return the known cards as a table, or as JSON."""
    rows = [_gpu_row(card, card.marketing_gb, card.bandwidth_gb_s, supported=True) for card in catalog_gpus.CARDS]
    rows += [_gpu_row(card, None, None, supported=False) for card in catalog_gpus.LEGACY_CARDS]
    if as_json:
        return json.dumps({"schema": console.SCHEMA, "ok": True, "errors": [], "gpus": rows})
    return console.table(tuple(rows[0]), [row | {"supported": "yes" if row["supported"] else "no"} for row in rows])


def _gpu_row(
    card: Card | LegacyCard, memory_gb: int | None, bandwidth_gb_s: float | None, *, supported: bool
) -> dict[str, object]:
    return {
        "gpu": card.name,
        "memory_gb": memory_gb,
        "bandwidth_gb_s": bandwidth_gb_s,
        "compute_capability": ".".join(map(str, card.capability)),
        "supported": supported,
    }
