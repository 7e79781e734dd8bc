"""Convert the models of this host's Ollama into agents (`import ollama`), with a reason for each that is dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import RoundhouseError
from ..util import json_file
from . import agent, gguf_metadata, ollama_library, ollama_store, report, roster_file, rules, shown
from .ollama_store import StoredModel
from .report import DEFAULT, DROPPED, Line, Outcome, Setting, Source

_EMBEDDERS = ("bert", "embed")  # families
_NOT_SERVED = {
    "projector": "It is a vision model, which the plan does not compute: add its repository to the roster by hand.",
    "adapter": "It has an adapter: merge the adapter into its model, and name that folder in the roster.",
}


def import_store(store: Path | None, root: Path = Path("/")) -> tuple[list[dict[str, Any]], list[Line]]:
    """Return the agents and the report of all models. Raises RoundhouseError if no model can become an agent."""
    place = ollama_store.place(store, root)
    stored, problems = ollama_store.models(place)
    others = [report.line(str(place), None, "manifest", Outcome(DROPPED, problem)) for problem in problems]
    defaults, lines = _service(root)
    imported, seen = [], dict[tuple[str, ...], str]()
    for model in stored:
        if (same := seen.setdefault(model.digests, model.name)) != model.name:
            others.append(report.line(model.name, None, "model", Outcome(DEFAULT, f"It is the same as {same}.")))
        elif (outcome := _weights(model, stored)).fields:
            imported.append(agent.import_source(_source(model, outcome, defaults)))
        else:
            others.append(report.line(model.name, None, "FROM", outcome))
    if not imported:
        reasons = " ".join(f"{each.file}: {each.why}" for each in others) or "It contains no models."
        text = "{store} has no model for an agent. {reasons}"
        remedy = "Name another store with --store."
        raise RoundhouseError("no_ollama_model", text, remedy, store=str(place), reasons=reasons)
    agents, own = roster_file.combine(imported)
    return agents, [*lines, *own, *others]


def _service(root: Path) -> tuple[dict[str, Any], list[Line]]:
    """Return the fields that Ollama's service sets for all models, and their report lines."""
    fields: dict[str, Any] = {}
    lines = []
    for name, value in ollama_store.settings(root).items():
        setting = Setting(None, "service", name, value, shown.assignment("service", name, value))
        outcome = rules.outcome(setting, Source("ollama.service", None, (), ()))
        fields |= outcome.fields
        lines.append(report.line("ollama.service", None, setting.text, outcome))
    return fields, lines


def _weights(model: StoredModel, others: list[StoredModel]) -> Outcome:
    """Return the outcome for a model's weights: its safetensors repository, or the reason for dropping it."""
    families = (model.config.get("model_family", ""), *model.families)
    if any(word in each for each in families for word in _EMBEDDERS):
        return Outcome(DROPPED, "It is an embedding model; agents generate text.")
    for part in _NOT_SERVED.keys() & model.parts.keys():
        return Outcome(DROPPED, _NOT_SERVED[part])
    metadata = gguf_metadata.read(model.weights) if model.weights else {}
    parameters = model.config.get("model_type")
    twins = [model, *(each for each in others if each.weights and each.weights == model.weights)]
    names = (ollama_library.by_name(each.family, each.tag, parameters) for each in twins)
    match = ollama_library.by_metadata(metadata) or next((each for each in names if each), None)
    if match is None:
        called = metadata.get("general.name") or model.config.get("model_family") or "(none)"
        why = f"The safetensors repository of {called} (the name in its file) is unknown: add it by hand."
        return Outcome(DROPPED, why)
    return ollama_library.proposal(match, str(model.config.get("file_type") or ""))


def _parameters(model: StoredModel) -> dict[str, Any]:
    try:
        found = json_file.parse(model.parts.get("params") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _source(model: StoredModel, outcome: Outcome, defaults: dict[str, Any]) -> Source:
    weights = f"FROM {model.config.get('model_type') or 'weights'} {model.config.get('file_type') or ''}".rstrip()
    settings = [Setting(None, "instruction", "from", "", weights)]
    for name, value in _parameters(model).items():
        said = shown.assignment("parameter", name.lower(), str(value), " ", f"PARAMETER {name}")
        settings.append(Setting(None, "parameter", name.lower(), str(value), said))
    for kind, text in model.parts.items():
        if kind != "params":
            settings.append(Setting(None, "instruction", kind, text, kind.upper()))
    family = model.family if model.tag == "latest" else f"{model.family}-{model.tag}"
    return Source(model.name, None, (family, f"ollama-{model.family}"), tuple(settings), outcome, defaults)
