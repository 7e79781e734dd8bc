"""Suggest models for each role on given cards, and write the roster that deploys them.

The candidates are data with date, licence and source (catalog/candidates.json). A candidate has the longest context
that fits, with an 8-bit KV cache if it does not fit otherwise. The roster has the chosen model of each role, and the
next ones that fit for a smaller card.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ..catalog import model_families
from ..catalog.architecture import Model
from ..fit.estimate import FITS, Fit, Question, fit
from ..util import json_file
from . import candidates
from .candidates import Group, Requirements
from .decide import Host

FILE = Path(candidates.__file__).resolve().parents[1] / "catalog/candidates.json"
# A shorter context is not useful for an agent that reads files.
LEAST_TOKENS = 8192
_SEQS = 8
_FIRST_PORT = 8000
_SHARE = 0.92
_UNIFIED_SHARE = 0.8


class Candidate(NamedTuple):
    """Hold one model for a role on the cards. `question` and `fit` are None if it does not fit."""

    role: str
    model: str
    facts: dict[str, Any]
    question: Question | None
    fit: Fit | None
    reason: str | None


def read() -> dict[str, Any]:
    """Return the data file of the candidates."""
    found: dict[str, Any] = json_file.read_foreign(FILE)
    return found


def suggestions(host: Host) -> dict[str, list[Candidate]]:
    """Return the candidates of each role, best first, each with its fit on the host's cards."""
    stated = read()
    return {
        role: [_candidate(role, name, entry, stated["models"][name], host) for name in entry["models"]]
        for role, entry in stated["roles"].items()
    }


def _candidate(role: str, name: str, entry: dict[str, Any], facts: dict[str, Any], host: Host) -> Candidate:
    found = model_families.find(name)
    if not isinstance(found, Model):
        raise ValueError(f"candidates.json names {name}, which is not in the catalog")
    length = min(entry["max_model_len"], found.architecture.max_position_embeddings or LEAST_TOKENS)
    wanted = Requirements((found,), length, share(host), max_model_len_min=LEAST_TOKENS, max_num_seqs=_SEQS)
    reason: str | None = "No card of the host can run it."
    for groups in candidates.card_sets(host.cards, None, {}):
        for group in groups:
            question, made = _best(wanted, found, group)
            if made.verdict == FITS:
                return Candidate(role, name, facts, question, made, None)
            reason = made.reasons[0] if made.reasons else reason
    return Candidate(role, name, facts, None, None, reason)


def share(host: Host) -> float:
    """Return gpu_memory_utilization: less on a card with unified memory."""
    return _UNIFIED_SHARE if any(card.system_gib is not None for card in host.cards) else _SHARE


def _best(wanted: Requirements, model: Model, group: Group) -> tuple[Question, Fit]:
    """Return the question with the fewest reductions that fits, or the last one tried."""
    asked = candidates.as_wanted(wanted, model, group)
    given = (frozenset[str](), frozenset({"kv_cache_dtype"}), frozenset({"kv_cache_dtype", "max_model_len"}))
    for given_up in given:
        question = candidates.settle(wanted, asked, group, given_up=given_up, measured={})
        made = fit(question)
        if made.verdict == FITS:
            break
    return question, made


def roster(found: dict[str, list[Candidate]], share_of_card: float) -> list[dict[str, Any]]:
    """Return the agents of a roster: each role's best model that fits, and its fallbacks; not roles without one."""
    roles = read()["roles"]
    agents: list[dict[str, Any]] = []
    for role, entries in found.items():
        fitting = [each for each in entries if each.question]
        if not fitting:
            continue
        best = fitting[0]
        # The agent has one parser of tool calls, so the fallbacks are of the same kind.
        alike = [each for each in fitting if each.facts["tool_call_parser"] == best.facts["tool_call_parser"]]
        question = best.question
        if question is None:
            continue
        agents.append(
            {
                "name": role,
                "description": roles[role]["description"],
                "models": [{"model": each.model} for each in alike],
                "port": _FIRST_PORT + len(agents),
                "max_model_len": question.max_model_len,
                "max_model_len_min": min(LEAST_TOKENS, question.max_model_len),
                "gpu_memory_utilization": share_of_card,
                "kv_cache_dtype": question.kv_cache_dtype,
                "max_num_seqs": _SEQS,
                "temperature": best.facts["temperature"],
                "top_p": best.facts["top_p"],
                "tool_call_parser": best.facts["tool_call_parser"],
            }
        )
    return agents


def text(agents: list[dict[str, Any]], card: str) -> str:
    """Return a roster as YAML, with its origin. models.lock pins each model's revision at the first download."""
    stated = read()
    lines = [
        "---",
        f"# A roster for {card}, by `plan.py suggest` of {stated['date']}, which shows licences and sources.",
        "# group_vars/all/agents.yml explains the settings. Copy this file over it to use it.",
        "agents:",
    ]
    for agent in agents:
        for index, (key, value) in enumerate(agent.items()):
            begin = "  - " if index == 0 else "    "
            if key == "models":
                lines.append(f"{begin}models:")
                lines += [f"      - model: {entry['model']}" for entry in value]
            else:
                lines.append(f"{begin}{key}: {value}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
