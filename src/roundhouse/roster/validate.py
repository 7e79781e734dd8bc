"""Validate the roster that a user wrote in group_vars/all/agents.yml.

`problems` finds all problems at once. Each is one sentence that names the field, the value and what to
write instead. Nothing on a host is changed before the list is empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from ..catalog.architecture import Model, Unknown
from ..errors import UsageError
from ..schema.roster import Addressed, Roster, WantedAgent
from ..util.pairs import pairs
from . import fields, ports
from . import models as roster_models
from .fields import MAX_NUM_BATCHED_TOKENS
from .models import Configs

REQUIRED = tuple(field for field in fields.RULES if field in WantedAgent.__required_keys__)


def require_valid(agents: object, configs: Configs | None = None, gateway_port: int | None = None) -> Roster:
    """Return the roster. Raises UsageError with one sentence per line."""
    found = list(problems(agents, configs, gateway_port))
    if found:
        raise UsageError("roster_invalid", "{problems}", problems="\n".join(found))
    return list(cast("Roster", agents))


def problems(agents: object, configs: Configs | None = None, gateway_port: int | None = None) -> Iterator[str]:
    """Yield a sentence for each problem in the roster.

    `configs` are the config.json files of folders on the host; a folder that is missing there counts as unknown.
    `gateway_port` is None without a gateway.
    """
    if not isinstance(agents, list) or not agents:
        what = "empty" if not agents else f"a {type(agents).__name__}, not a list"
        yield f"agents is {what}: list at least one agent in the inventory's group_vars/all/agents.yml."
        return
    for index, agent in enumerate(agents):
        if not isinstance(agent, dict):
            yield f"agents[{index}] is {agent!r}: write a mapping with {', '.join(REQUIRED)}."
            continue
        yield from _agent(f"agents[{agent.get('name', index)}]", agent, configs or {})
    good = [agent for agent in agents if isinstance(agent, dict)]
    yield from _names_twice(agents)
    yield from _ports_twice(good)
    whole = [agent for agent in good if "name" in agent and not [*fields.problems("", "port", agent.get("port"))]]
    yield from ports.problems(cast("list[Addressed]", whole), gateway_port)


def _agent(at: str, agent: dict[str, Any], configs: Configs) -> Iterator[str]:
    for key in [key for key in agent if key not in fields.RULES]:
        yield fields.unknown_setting(f"{at}.{key}", key, tuple(fields.RULES))
    if missing := [key for key in REQUIRED if key not in agent]:
        yield f"{at} lacks {', '.join(missing)}. Each agent needs {', '.join(REQUIRED)}."
    found = [
        problem
        for field, value in agent.items()
        if field in fields.RULES
        for problem in fields.problems(f"{at}.{field}", field, value)
    ]
    yield from found
    if not found and all(key in agent for key in REQUIRED):
        yield from _together(at, cast("WantedAgent", agent), configs)


def _together(at: str, agent: WantedAgent, configs: Configs) -> Iterator[str]:
    """Yield a sentence for each conflict between settings that are valid alone."""
    wanted, least = agent["max_model_len"], agent.get("max_model_len_min")
    if least is not None and least > wanted:
        yield f"{at}.max_model_len_min is {least}, above max_model_len: write at most {wanted}."
    answer = agent.get("max_tokens")
    if answer is not None and answer >= wanted:
        yield f"{at}.max_tokens is {answer}, at least max_model_len: write fewer than {wanted}."
    seqs, batched = agent.get("max_num_seqs"), agent.get("max_num_batched_tokens", MAX_NUM_BATCHED_TOKENS)
    if seqs is not None and seqs > batched:
        yield f"{at}.max_num_seqs is {seqs}, above max_num_batched_tokens: write at most {batched}."
    models = [roster_models.find(entry, configs) for entry in agent["models"]]
    for index, (entry, found) in enumerate(pairs(agent["models"], models)):
        if sentence := roster_models.problem(f"{at}.models[{index}]", entry, found):
            yield sentence
        if sentence := roster_models.quantize_problem(f"{at}.models[{index}]", entry, configs):
            yield sentence
    draft = agent["speculative_config"].get("model") if "speculative_config" in agent else None
    drafting = roster_models.find({"model": draft}, configs) if draft else None
    if isinstance(drafting, Unknown) and agent.get("policy") != "exact":
        where = f"{at}.speculative_config.model"
        yield f"{where} is {draft!r}: {drafting.reason} Name a model of the catalog, or write policy: exact."
    own = [found.architecture.max_position_embeddings if isinstance(found, Model) else None for found in models]
    # A model whose limit is unknown may support more tokens; the engine checks it at its start.
    longest = max((limit for limit in own if limit), default=0)
    if None not in own and wanted > longest:
        name = agent["models"][own.index(longest)]["model"]
        yield f"{at}.max_model_len is {wanted}, but its models support at most {longest} ({name}): write {longest}."


def _names_twice(agents: list[Any]) -> Iterator[str]:
    """Yield a sentence for each name of two agents; it names their places in the list, from 0."""
    first: dict[str, int] = {}
    for index, agent in enumerate(agents):
        name = agent.get("name") if isinstance(agent, dict) else None
        if not isinstance(name, str):
            continue
        if name in first:
            places = f"agents[{first[name]}].name and agents[{index}].name"
            yield f"{places} are both {name} (counted from 0): give each agent a different name."
        first.setdefault(name, index)


def _ports_twice(agents: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each port of two agents."""
    first: dict[object, object] = {}
    for agent in agents:
        port = agent.get("port")
        if not isinstance(port, int):
            continue
        if port in first:
            at = f"agents[{agent.get('name')}].port"
            yield f"{at} is {port}, which {first[port]} also uses: give each agent a different port."
        first.setdefault(port, agent.get("name"))
