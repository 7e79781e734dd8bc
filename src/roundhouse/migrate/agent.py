"""One source becomes one agent: each setting by its rule, and what an agent lacks then is added, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..vllm import defaults
from . import models, report, rules
from .names import agent_name
from .report import BECAME, LEFT, NEAREST, Imported, Line, Outcome, Setting, Source

# Below this a plan gives up no more tokens by itself: an agent with fewer is of little use.
_FEWEST_TOKENS = 8192
_UNKNOWN_TOKENS = 8192
_MOST_TOKENS = 32768
# What counted where the source says nothing. Ollama's are from its Modelfile reference.
_VLLM = (1.0, 1.0, "it is vLLM's own, where neither a request nor the model's author says another.")
_OLLAMA = (0.8, 0.9, "it is Ollama's default, which counted until now.")


def import_source(source: Source, model: str | None = None) -> Imported:
    """Return the agent of a source; `model` is taken where the source names none."""
    agent: dict[str, Any] = dict(source.defaults)
    lines: list[Line] = []
    effective = source.effective()
    for setting in source.settings:
        outcome = _overridden(setting, effective) or rules.outcome(setting, source)
        port = agent.get("port")
        if port and outcome.fields.get("port", port) != port:
            outcome = Outcome(LEFT, f"An agent answers on one port, and that is {port}.")
        agent |= {name: value for name, value in outcome.fields.items() if _may_set(name, setting, agent)}
        lines.append(report.line(source.file, setting.number, setting.text, outcome))
    if model and "models" not in agent:
        lines.append(_add_model(agent, source.file, model))
    lines.insert(0, _add_name(agent, source))
    return Imported(agent, [*lines, *_add_missing(agent, source)])


def _overridden(setting: Setting, effective: Mapping[str, Setting]) -> Outcome | None:
    counts = effective.get(setting.option)
    if setting.kind not in ("env", "flag") or counts is None or counts is setting:
        return None
    return Outcome(LEFT, f"Line {counts.number} says it too, and that is what counted.")


def _may_set(name: str, setting: Setting, agent: Mapping[str, Any]) -> bool:
    """Return whether a setting sets a field: the cards that are named override a number of them."""
    return name != "gpus" or name not in agent or setting.name == "CUDA_VISIBLE_DEVICES"


def _add_name(agent: dict[str, Any], source: Source) -> Line:
    names = [*source.value("served-model-name").split()[:1], *source.names]
    name = next((found for each in names if (found := agent_name(each))), "agent")
    agent["name"] = name
    why = "Its word on the command line, its model name on the API, and its unit's."
    fate = BECAME if name in names else NEAREST
    text = source.names[0] or Path(source.file).name
    return report.line(source.file, source.number, text, Outcome(fate, why, {"name": name}))


def _add_model(agent: dict[str, Any], file: str, model: str) -> Line:
    outcome = models.propose(model)
    agent |= outcome.fields
    if outcome.fields:
        return report.added(file, "models", agent["models"], f"As --model says. {outcome.why}")
    return report.line(file, None, f"--model {model}", outcome)


def _add_missing(agent: dict[str, Any], source: Source) -> list[Line]:
    """Add the required fields; the port waits until all agents are known."""
    lines: list[Line] = []

    def add(field: str, value: Any, why: str) -> None:
        agent[field] = value
        lines.append(report.added(source.file, field, value, why))

    limit = models.longest(agent.get("models", []))
    if "max_model_len" not in agent and limit:
        add("max_model_len", min(limit, _MOST_TOKENS), f"Nothing was said; the model goes to {limit}.")
    elif "max_model_len" not in agent:
        add("max_model_len", _UNKNOWN_TOKENS, "Nothing was said, and the model's own limit is not known: write yours.")
    elif limit and agent["max_model_len"] > limit:
        add("max_model_len", limit, f"Its models go no further, and {agent['max_model_len']} was asked for.")
    if agent["max_model_len"] > _FEWEST_TOKENS and "max_model_len_min" not in agent:
        add("max_model_len_min", _FEWEST_TOKENS, "The planner may reduce max_model_len to this if GPU memory is short.")
    if "gpu_memory_utilization" not in agent:
        add("gpu_memory_utilization", defaults.UTILIZATION, "Nothing was said; it is vLLM's default.")
    temperature, top_p, why = _OLLAMA if source.model else _VLLM
    for field, value in (("temperature", temperature), ("top_p", top_p)):
        if field not in agent:
            add(field, value, f"Nothing was said; {why}")
    return lines
