"""From the roster and a host's facts to the plan: the choice for each agent, and all that the roles write.

Built on the controller, by the filter of the playbooks and by scripts/plan.py alike. `plan.py` reads what was deployed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from . import flags, quantised, start_limit
from .decision import Host, decide
from .errors import UsageError
from .plan import SCHEMA, Agent, Plan, path_of, unit_name
from .roster import require_valid

CONFIG_FOLDER = "/etc/roundhouse/agents"
# Loopback until a gateway with a key stands in front (vLLM's own key leaves paths open, vllm#58144).
LISTEN_HOST = "127.0.0.1"
# systemd waits this much longer than the engine's own drain before it kills.
STOP_MARGIN_SECONDS = 30
# An engine that dies may leave its port and its card a moment later.
RESTART_SECONDS = 5
# Starts in a window before an agent is given up and who served before has the card again: enough for what passes by
# itself, few enough that the users wait minutes and not an hour.
START_TRIES = 4


class Settings(NamedTuple):
    """What group_vars say of a host. `accelerator` is "cuda" or "cpu", `engine_path` the engine's environment.

    Under `models_store` lie the pulled models; `start_timeout_seconds` is how long an engine may take to be healthy,
    None where the plan is to compute it.
    """

    accelerator: str
    engine_path: str
    models_store: str
    start_timeout_seconds: int | None


def build(agents: Any, settings: Settings, host: Host | None = None) -> Plan:
    """Return the plan of one host for a roster (a list of dicts, see roster.py).

    An agent that nothing fits for is in the plan with the verdict `no`, and `problems` has the sentence.
    Raises UsageError with a sentence for each setting that cannot be meant.
    """
    host = host or Host()
    roster = quantised.with_stamps(require_valid(agents, host.configs), host.stamps)
    accelerator = settings.accelerator
    if accelerator not in ("cuda", "cpu"):
        raise UsageError("plan", f"engine_accelerator is {accelerator!r}: write cuda or cpu.")
    decided = decide(roster, host, accelerator)
    rivals = _rivals([each["gpus"] for each in decided])
    names = [agent["name"] for agent in roster]
    made = []
    for index, (agent, choices) in enumerate(zip(roster, decided, strict=True)):
        conflicts = [names[other] for other in rivals[index]]
        # systemd stops the one before it starts the other only if the two are ordered, either way round.
        after = [names[other] for other in rivals[index] if other < index]
        entry = _entry(agent, choices, settings, host)
        made.append(entry | {"conflicts": conflicts, "after": after})
    return {
        "schema": SCHEMA,
        "runtime": "native",
        "accelerator": accelerator,
        "engine_path": settings.engine_path,
        "models_store": settings.models_store,
        # What is not known yet and will be: nothing is downloaded while one of these stands.
        "waiting": [entry["refused"][0] for entry in made if entry["waits"]],
        "problems": [*_beyond(roster, host, accelerator), *(_misfit(entry) for entry in made if not entry["taken"])],
        "agents": made,
    }


def _rivals(cards_of: list[list[int]]) -> list[list[int]]:
    """Return, for each agent, the positions of those that share a card with it."""
    on: dict[int, list[int]] = {}
    for position, indices in enumerate(cards_of):
        for index in indices:
            on.setdefault(index, []).append(position)
    return [
        sorted({other for index in indices for other in on[index]} - {position})
        for position, indices in enumerate(cards_of)
    ]


def _entry(agent: Agent, decided: dict[str, Any], settings: Settings, host: Host) -> Agent:
    name = agent["name"]
    store = settings.models_store
    model_path = path_of(decided, store)
    drafting = agent.get("speculative_config") or {}
    draft, draft_revision = drafting.get("model"), drafting.get("revision")
    draft_path = path_of(drafting, store) if draft else None
    limits = _limits(agent, decided, settings, host, model_path)
    return {
        "name": name,
        "description": agent.get("description"),
        "unit": unit_name(name),
        "host": LISTEN_HOST,
        "port": agent["port"],
        **decided,
        "model_path": model_path,
        "draft_model": draft,
        "draft_revision": draft_revision,
        "draft_model_path": draft_path,
        "temperature": agent["temperature"],
        "top_p": agent["top_p"],
        "config_path": f"{CONFIG_FOLDER}/{name}.yaml",
        "config": flags.config(agent, decided, flags.Place(settings.accelerator, LISTEN_HOST, model_path, draft_path)),
        "environment": flags.environment(settings.accelerator, decided["gpus"], limits["start_timeout_seconds"]),
        **limits,
    }


def _limits(agent: Agent, decided: dict[str, Any], settings: Settings, host: Host, model_path: str) -> dict[str, Any]:
    """Return how long a start and a stop may take, and after how many starts the agent is given up."""
    eager = bool(agent.get("enforce_eager"))
    deployed = {each["name"]: each for each in (host.deployed or {}).get("agents", [])}.get(agent["name"], {})
    same = deployed.get("model_path") == model_path and bool(deployed["config"].get("enforce-eager")) == eager
    before = None
    if same and not host.again and "start_timeout_why" in deployed:
        before = {"seconds": deployed["start_timeout_seconds"], "why": deployed["start_timeout_why"]}
    own = host.disk.get(model_path, {})
    fitted = (decided["fit"] or {}).get("weights_gib_per_rank")
    fitted_bytes = None if fitted is None else fitted * len(decided["gpus"]) * start_limit.GIB
    load = start_limit.Load(
        own.get("weights_bytes", fitted_bytes),
        (own or host.disk.get(settings.models_store, {})).get("bytes_per_second"),
        eager,
        start_limit.slowest(host.starts, model_path),
    )
    start = start_limit.chosen(settings.start_timeout_seconds, load, before)
    stop_seconds = flags.SHUTDOWN_TIMEOUT_SECONDS + STOP_MARGIN_SECONDS
    return {
        "start_timeout_seconds": start["seconds"],
        "start_timeout_why": start["why"],
        "stop_timeout_seconds": stop_seconds,
        "restart_seconds": RESTART_SECONDS,
        "start_tries": START_TRIES,
        "start_tries_seconds": start_limit.window_seconds(START_TRIES, start["seconds"], stop_seconds, RESTART_SECONDS),
    }


def _beyond(roster: list[Agent], host: Host, accelerator: str) -> list[str]:
    """Return a sentence for each agent that wants a card which the host, once its cards are known, has not."""
    if accelerator == "cpu" or not host.cards:
        return []
    last = len(host.cards) - 1
    return [
        f"agents[{agent['name']}].gpus is {agent['gpus']}, and this host's GPUs are numbered 0 to {last}: write those."
        for agent in roster
        if any(number > last for number in agent.get("gpus", []))
    ]


def _misfit(entry: Agent) -> str:
    reasons = " ".join(entry["refused"])
    return (
        f"agents[{entry['name']}].models: none is known to fit. {reasons} Add a smaller model, let the agent give up "
        "more (max_model_len_min, give_up), or write policy: exact for one that is tight or unknown."
    )
