"""`import ollama`: each model of this host's Ollama as an agent, or why it is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import RoundhouseError
from . import models, ollama_library, ollama_store, report, roster_file
from .agent import Made, agent_name
from .models import complete
from .ollama_store import Held
from .report import ALREADY, BECAME, LEFT, NEAREST, Line

# What embeds texts and answers nothing.
_EMBEDS = ("bert", "nomic-bert", "embed")
_SIXTEEN_BIT = ("F16", "BF16", "F32")


def proposed(store: Path | None, root: Path = Path("/")) -> tuple[list[Made], list[Line]]:
    """Return the agents, and the report of all models. Raises RoundhouseError where there is no agent among them."""
    place = ollama_store.place(store, root)
    held, strange = ollama_store.models(place)
    lines = [_line(str(place), "manifest", report.Said(LEFT, sentence)) for sentence in strange]
    own, told = _settings(ollama_store.settings(root))
    made, seen = [], dict[tuple[str, ...], str]()
    for model in held:
        if (same := seen.setdefault(model.digests, model.name)) != model.name:
            lines.append(_line(model.name, "model", report.Said(ALREADY, f"It is the same as {same}.")))
            continue
        found, why = nearest(model, held)
        if found is None:
            lines.append(_line(model.name, "FROM", report.Said(LEFT, why)))
            continue
        made.append(_agent(model, found, own))
    if not made:
        said = " ".join(f"{line.file}: {line.why}" for line in lines) or "It holds no models."
        raise RoundhouseError("ollama", f"{place} has no model that an agent could serve. {said}")
    made = roster_file.together(made)
    return made, [*told, *roster_file.lines_of(made), *lines]


def nearest(model: Held, others: list[Held]) -> tuple[ollama_library.Nearest | None, str]:
    """Return the safetensors repository of a model, or None and why."""
    families = [str(each) for each in [model.config.get("model_family"), *(model.config.get("model_families") or [])]]
    if any(word in each for each in families for word in _EMBEDS):
        return None, "It embeds texts and answers nothing; agents answer."
    if "projector" in model.parts:
        return None, "It sees pictures, which the plan does not count: name its repository in the roster by hand."
    if "adapter" in model.parts:
        return None, "It has an adapter of its own: merge it into its model, and name that folder in the roster."
    head = ollama_store.head(model.model) if model.model else {}
    parameters = model.config.get("model_type")
    twins = [model, *(each for each in others if each.model and each.model == model.model)]
    names = (ollama_library.by_name(each.family, each.tag, parameters) for each in twins)
    found = ollama_library.by_head(head) or next((each for each in names if each), None)
    called = head.get("general.name") or model.config.get("model_family") or "nothing"
    return found, f"Its file calls itself {called}, and no safetensors repository of that is known: name one by hand."


def _agent(model: Held, found: ollama_library.Nearest, own: dict[str, Any]) -> Made:
    form = str(model.config.get("file_type") or "")
    proposal = models.propose(found.repo, None if form in _SIXTEEN_BIT else form or "gguf")
    fate = BECAME if proposal.exact else NEAREST
    why = f"{found.evidence[0].upper()}{found.evidence[1:]}. {proposal.why}."
    agent: dict[str, Any] = {"name": _name(model), "models": proposal.models, **own}
    weights = f"FROM {model.config.get('model_type') or 'weights'} {form}".rstrip()
    lines = [
        _line(model.name, "model", report.Said(BECAME, "Its model name on the API too.", {"name": agent["name"]})),
        _line(model.name, weights, report.Said(fate, why, {"models": proposal.models})),
    ]
    for name, value in ollama_parameters(model).items():
        said = ollama_library.parameter(name, value)
        agent |= said.fields
        lines.append(_line(model.name, f"PARAMETER {name} {value}", said))
    for kind, text in model.parts.items():
        if kind != "params":
            shown = f"{kind.upper()} {ollama_library.shortened(text)}" if kind == "system" else kind.upper()
            lines.append(_line(model.name, shown, ollama_library.instruction(kind, text)))
    return Made(agent, [*lines, *complete(agent, model.name, ollama_library.SAMPLING)])


def ollama_parameters(model: Held) -> dict[str, Any]:
    """Return the parameters that a model was made with."""
    told = json.loads(model.parts.get("params") or "{}")
    return told if isinstance(told, dict) else {}


def _settings(told: dict[str, str]) -> tuple[dict[str, Any], list[Line]]:
    """Return what Ollama's service sets for each of its models."""
    fields: dict[str, Any] = {}
    lines = []
    for name, value in told.items():
        said = ollama_library.setting(name, value)
        fields |= said.fields
        lines.append(_line("ollama.service", f"{name}={value}", said))
    return fields, lines


def _name(model: Held) -> str:
    tag = "" if model.tag == "latest" else f"-{model.tag}"
    return agent_name(f"{model.family}{tag}") or agent_name(f"ollama-{model.family}") or "agent"


def _line(file: str, text: str, said: report.Said) -> Line:
    return report.line(file, report.Entry(0, "key", "", None, text), said)._replace(number=None)
