"""The plan of a whole roster on the command line: for this host, or for cards that one only thinks of."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from . import cards, explain, gpu, measured, output, plan, plan_question, plan_text, planner
from .decision import Host, host_of, question_of
from .errors import UsageError
from .fit import fit
from .fit_text import NUMBERS
from .roster_models import Configs, own_configs
from .wishes import wish_of

# What is asked before a deployment is asked of a GPU host as it is shipped: with the official image.
SETTINGS = planner.Settings("cuda", "", "", None, runtime=planner.COMPOSE)
ROSTER = Path(__file__).resolve().parents[2] / "group_vars/all/agents.yml"
# What a program is told of each agent, besides the numbers of its fit.
_TOLD = (
    *("name", "model", "quantization", "quantize", "max_model_len", "kv_cache_dtype", "gpus", "gpu_memory_utilization"),
    *("max_num_seqs", "max_num_batched_tokens", "verdict", "given_up", "refused", "notes"),
)


def answer(args: argparse.Namespace) -> tuple[str, int]:
    """Return the plan of the roster as text or JSON, and 0 when something fits for each agent, 1 otherwise."""
    agents = read(args.roster)
    thought_of = args.gpu is not None or args.vram_gib is not None
    notes, host = _cards_of(args) if thought_of else ([], _this_host(agents))
    made = planner.build(agents, SETTINGS, host)
    status = 1 if made["problems"] else 0
    reasons = _explained(agents, made, host) if args.explain else {}
    if args.json:
        answer = as_json(made)
        for agent in answer["agents"] if args.explain else []:
            agent["explain"] = reasons.get(agent["name"], [])
        return json.dumps(answer), status
    shown = [*notes, plan_text.text(made, [] if thought_of else measured.load())]
    for name, rows in reasons.items():
        shown += ["", f"{name}:", explain.text(rows)]
    return "\n".join(shown), status


def _explained(agents: Any, made: plan.Plan, host: Host) -> dict[str, list[dict[str, Any]]]:
    """Return, by agent, the rows of explain for what was computed."""
    found = {}
    for agent, decided in zip(agents, made["agents"], strict=True):
        question = question_of(decided, wish_of(agent, host.configs), host)
        if question:
            found[agent["name"]] = explain.rows(question, fit(question))
    return found


def as_json(made: plan.Plan) -> dict[str, Any]:
    """Return a plan for programs."""
    return {
        "schema": output.SCHEMA,
        "ok": not made["problems"],
        "errors": [{"stage": "fit", "message": sentence} for sentence in made["problems"]],
        "agents": [
            {name: agent[name] for name in _TOLD} | (agent["fit"] or dict.fromkeys(NUMBERS)) for agent in made["agents"]
        ],
    }


def read(path: Path) -> Any:
    """Return the `agents` of a roster file. Raises UsageError where it cannot be read."""
    try:
        import yaml  # noqa: PLC0415 - not in the standard library, and only a roster needs it
    except ModuleNotFoundError:
        raise UsageError(
            "roster", "PyYAML is missing: run make setup, then .venv/bin/python scripts/plan.py, or ask with --model."
        ) from None
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise UsageError("roster", f"--roster is {str(path)!r}, which cannot be read ({said}).") from None
    if not isinstance(content, dict) or "agents" not in content:
        raise UsageError("roster", f"--roster is {str(path)!r}: it has to hold a list under agents.")
    return content["agents"]


def imagined(card: cards.Card | None, count: int, *, total_gib: float | None = None, display: bool = False) -> Host:
    """Return a host with `count` cards of a kind, or of `total_gib` where the kind is not known."""
    one = cards.HostCard(
        number=0,
        name=card.name if card else "a card",
        cuda_gib=total_gib or (cards.total_gib(card) if card else None),
        capability=card.capability if card else None,
        bandwidth_gb_s=card.bandwidth_gb_s if card else None,
        shared_display=display,
    )
    return Host(tuple(one._replace(number=number) for number in range(count)))


def _cards_of(args: argparse.Namespace) -> tuple[list[str], Host]:
    """Return lines on what is assumed, and a host with the cards that are asked for."""
    known, total = plan_question.card(args.gpu, args.vram_gib)
    host = imagined(known, args.gpus or 1, total_gib=total, display=args.shared_display)
    many = f"{len(host.cards)} x " if len(host.cards) > 1 else ""
    note = plan_question.card_note(known, args.vram_gib, total)
    return [f"{many}{host.cards[0].name} of {total:g} GiB", *([note] if note else []), ""], host


def _this_host(agents: Any) -> Host:
    facts = gpu.facts()
    if not facts["gpus"]:
        raise UsageError("gpu", "This machine has no NVIDIA GPU: say for which card, with --gpu or --vram-gib.")
    configs: Configs = own_configs(agents)
    return host_of(facts | {"configs": configs, "measured": measured.load()})
