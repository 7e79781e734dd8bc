"""Convert one source into one agent: apply the rule of each setting, and add missing fields with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..roster import fields
from ..vllm import defaults
from . import models, report, rules
from .names import agent_name
from .report import APPROXIMATED, CONVERTED, DROPPED, Imported, Line, Outcome, Setting, Source

# The planner does not reduce max_model_len below this, because an agent with fewer tokens is of little use.
_FEWEST_TOKENS = 8192
_UNKNOWN_TOKENS = 8192
_MOST_TOKENS = 32768
# temperature and top_p that applied if the source does not set them. Ollama's are from its Modelfile reference.
_VLLM = (1.0, 1.0, "this is vLLM's default if neither the request nor the model's author sets it.")
_OLLAMA = (0.8, 0.9, "this is Ollama's default, which applied until now.")


def import_source(source: Source, model: str | None = None) -> Imported:
    """Return the agent of a source and its report; `model` is used if the source names none."""
    agent: dict[str, Any] = dict(source.defaults)
    lines: list[Line] = []
    effective = source.effective()
    for setting in source.settings:
        outcome = _overridden(setting, effective) or rules.outcome(setting, source)
        port = agent.get("port")
        if port and outcome.fields.get("port", port) != port:
            outcome = Outcome(DROPPED, f"An agent has one port, and it is {port}.")
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
    return Outcome(DROPPED, f"Line {counts.number} overrides it.")


def _may_set(name: str, setting: Setting, agent: Mapping[str, Any]) -> bool:
    """Return true if a setting may set a field: a list of cards overrides a number of cards."""
    return name != "gpus" or name not in agent or setting.name == "CUDA_VISIBLE_DEVICES"


def _add_name(agent: dict[str, Any], source: Source) -> Line:
    names = [*source.value("served-model-name").split()[:1], *source.names]
    name = next((found for each in names if (found := agent_name(each))), "agent")
    agent["name"] = name
    why = "The agent's name in commands, its model name on the API, and the name of its unit."
    kind = CONVERTED if name in names else APPROXIMATED
    text = source.names[0] or Path(source.file).name
    return report.line(source.file, source.number, text, Outcome(kind, why, {"name": name}))


def _add_model(agent: dict[str, Any], file: str, model: str) -> Line:
    outcome = models.propose(model)
    for problem in fields.problems("--model", "models", outcome.fields.get("models", [{"model": model}])):
        outcome = Outcome(DROPPED, problem)
    agent |= outcome.fields
    if outcome.fields:
        return report.added(file, "models", agent["models"], f"From --model. {outcome.why}")
    return report.line(file, None, f"--model {model}", outcome)


def _add_missing(agent: dict[str, Any], source: Source) -> list[Line]:
    """Add the required fields except the port, which is chosen when all agents are known."""
    lines: list[Line] = []

    def add(field: str, value: Any, why: str) -> None:
        agent[field] = value
        lines.append(report.added(source.file, field, value, why))

    limit = models.longest(agent.get("models", []))
    if "max_model_len" not in agent and limit:
        add("max_model_len", min(limit, _MOST_TOKENS), f"Not set; the model supports {limit}.")
    elif "max_model_len" not in agent:
        add("max_model_len", _UNKNOWN_TOKENS, "Not set, and the model's limit is unknown: write the value you need.")
    elif limit and agent["max_model_len"] > limit:
        add("max_model_len", limit, f"Its models support no more; the source asks for {agent['max_model_len']}.")
    if agent["max_model_len"] > _FEWEST_TOKENS and "max_model_len_min" not in agent:
        add("max_model_len_min", _FEWEST_TOKENS, "The planner may reduce max_model_len to this if GPU memory is short.")
    if "gpu_memory_utilization" not in agent:
        add("gpu_memory_utilization", defaults.UTILIZATION, "Not set; this is vLLM's default.")
    temperature, top_p, why = _OLLAMA if source.model else _VLLM
    for field, value in (("temperature", temperature), ("top_p", top_p)):
        if field not in agent:
            add(field, value, f"Not set; {why}")
    return lines
