"""From the roster and a host's facts to the plan: the choice for each agent, and all that the roles write.

Built on the controller, by the action roundhouse_inspect and by scripts/plan.py alike. `plan.py` reads what is
deployed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import UsageError
from ..models import quantized
from ..roster import ports
from ..roster.validate import require_valid
from ..vllm import options
from . import compose, start_timeout
from .decide import Host, decide
from .deployed import SCHEMA, Agent, Plan, path_of, unit_name

CONFIG_FOLDER = "/etc/roundhouse/agents"
# Engines never listen beyond it: vLLM's own key leaves paths open (vllm#58144), the gateway's does not.
LISTEN_HOST = "127.0.0.1"
# In a container it is the loopback of nobody else; what is published of it is published on LISTEN_HOST.
CONTAINED_HOST = "0.0.0.0"  # noqa: S104 - all interfaces of the container's own network
NATIVE, COMPOSE = "native", "compose"


class Settings(NamedTuple):
    """What group_vars say of a host. `accelerator` is "cuda" or "cpu", `engine_path` the engine's environment.

    Under `models_store` lie the pulled models; `start_timeout_seconds` is how long an engine may take to be healthy,
    None where the plan is to compute it. `gateway_port` is the one endpoint of all agents, None without a gateway.
    `runtime` is "native" or "compose", the latter with the reference of an `image`; without `image_has_engine` the one
    of `engine_path` is shown to it.
    """

    accelerator: str
    engine_path: str
    models_store: str
    start_timeout_seconds: int | None
    gateway_port: int | None = None
    runtime: str = NATIVE
    image: str | None = None
    image_has_engine: bool = True

    @property
    def kernels(self) -> bool:
        """Return whether the engines find FlashInfer's kernels compiled, as in the official image (attention.py)."""
        return self.runtime == COMPOSE and self.image_has_engine


def build(agents: Any, settings: Settings, host: Host | None = None) -> Plan:
    """Return the plan of one host for a roster (a list of dicts, see roster.py).

    An agent that nothing fits for is in the plan with the verdict `no`, and `problems` has the sentence.
    Raises UsageError with a sentence for each setting that cannot be meant.
    """
    host = host or Host()
    valid: Any = require_valid(agents, host.configs, settings.gateway_port)
    roster: Any = quantized.with_stamps(valid, host.stamps)
    accelerator = settings.accelerator
    if accelerator not in ("cuda", "cpu"):
        raise UsageError("plan", f"engine_accelerator is {accelerator!r}: write cuda or cpu.")
    if settings.runtime not in (NATIVE, COMPOSE):
        raise UsageError("plan", f"agents_runtime is {settings.runtime!r}: write compose or native.")
    host = host._replace(cards=tuple(card._replace(kernels=settings.kernels) for card in host.cards))
    decided = decide(roster, host, accelerator)
    rivals = _rivals([each["gpus"] for each in decided])
    names = [agent["name"] for agent in roster]
    made = []
    for index, (agent, choices) in enumerate(zip(roster, decided, strict=True)):
        conflicts = [names[other] for other in rivals[index]]
        # systemd stops the one before it starts the other only if the two are ordered, either way round.
        after = [names[other] for other in rivals[index] if other < index]
        entry = _entry(agent, choices, settings, host)
        if settings.runtime == COMPOSE:
            entry |= _contained(entry, settings, host)
        made.append(entry | {"conflicts": conflicts, "after": after})
    return {
        "schema": SCHEMA,
        "runtime": settings.runtime,
        "image": settings.image if settings.runtime == COMPOSE else None,
        "accelerator": accelerator,
        "engine_path": settings.engine_path,
        "models_store": settings.models_store,
        "gateway_port": settings.gateway_port,
        # What is not known yet and will be: nothing is downloaded while one of these stands.
        "waiting": [*(entry["refused"][0] for entry in made if entry["waits"]), *_no_card(settings, host)],
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
    name, accelerator = agent["name"], settings.accelerator
    agent = agent | {"enforce_eager": options.is_eager(agent, accelerator)}
    store = settings.models_store
    model_path = path_of(decided, store)
    drafting = agent.get("speculative_config") or {}
    draft, draft_revision = drafting.get("model"), drafting.get("revision")
    draft_path = path_of(drafting, store) if draft else None
    engine_port = ports.engine_port(agent["port"], settings.gateway_port)
    contained = settings.runtime == COMPOSE
    listens = CONTAINED_HOST if contained else LISTEN_HOST
    cards = [card for card in host.cards if accelerator == "cuda" and card.number in decided["gpus"]]
    capability = min((card.capability for card in cards if card.capability), default=None)
    kernels = settings.kernels
    place = options.Place(accelerator, listens, engine_port, model_path, draft_path, capability, kernels)
    environment = compose.environment if contained else options.environment
    limited = start_timeout.of_agent(
        agent, decided, host, start_timeout.Asked(model_path, store, settings.start_timeout_seconds)
    )
    return {
        "name": name,
        "description": agent.get("description"),
        "unit": unit_name(name),
        "host": LISTEN_HOST,
        "port": agent["port"],
        "engine_port": engine_port,
        **decided,
        "model_path": model_path,
        "draft_model": draft,
        "draft_revision": draft_revision,
        "draft_model_path": draft_path,
        "temperature": agent["temperature"],
        "top_p": agent["top_p"],
        "config_path": f"{CONFIG_FOLDER}/{name}.yaml",
        "config": options.config(agent, decided, place),
        "enforce_eager": agent["enforce_eager"],
        "kernels": kernels,
        "environment": environment(
            accelerator,
            decided["gpus"],
            limited["start_timeout_seconds"],
            kernels=kernels,
            eager=agent["enforce_eager"],
        ),
        **limited,
    }


def _contained(entry: Agent, settings: Settings, host: Host) -> Agent:
    image = compose.Image(settings.image or "", None if settings.image_has_engine else settings.engine_path)
    return {
        "compose_path": f"{CONFIG_FOLDER}/{entry['name']}.compose.yaml",
        "compose": compose.document(entry, settings.accelerator, image, host.means),
    }


def _no_card(settings: Settings, host: Host) -> list[str]:
    wants = settings.runtime == COMPOSE and settings.accelerator == "cuda"
    return compose.missing(host.means) if wants else []


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
