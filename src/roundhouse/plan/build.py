"""Build the plan from the roster and a host's facts: the choice for each agent, and all that the roles write.

It is built on the controller, by the action roundhouse_inspect and by scripts/plan.py alike. deployed.py reads what is
deployed.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from ..errors import UsageError
from ..models import own_folders
from ..roster import ports
from ..roster.validate import require_valid
from ..schema.plan import Agent, AgentBase, Decided, Plan
from ..schema.roster import Roster, WantedAgent
from ..vllm import options
from ..vllm.formats import Capability
from . import compose, start_timeout
from .decide import Host, decide
from .deployed import SCHEMA, path_of, unit_name

CONFIG_FOLDER = "/etc/roundhouse/agents"
# Engines never listen beyond it: vLLM's own key leaves paths open (vllm#58144), the gateway's does not.
LISTEN_HOST = "127.0.0.1"
# A container's network is its own; its port is published on LISTEN_HOST.
CONTAINED_HOST = "0.0.0.0"  # noqa: S104 - all interfaces of the container's own network
NATIVE, COMPOSE = "native", "compose"


class Settings(NamedTuple):
    """What group_vars say of a host. `accelerator` is "cuda" or "cpu", `engine_path` the engine's environment.

    Under `models_store` lie the pulled models; `start_timeout_seconds` is how long an engine may take to be healthy,
    None or empty where the plan computes it. `gateway_port` is the one endpoint of all agents, None without a gateway.
    `runtime` is "native" or "compose", the latter with the reference of an `image`; without `image_has_engine` the one
    of `engine_path` is shown to it.
    """

    accelerator: str
    engine_path: str
    models_store: str
    start_timeout_seconds: int | str | None
    gateway_port: int | None = None
    runtime: str = NATIVE
    image: str | None = None
    image_has_engine: bool = True

    @property
    def contained(self) -> bool:
        """Return whether the engines run in containers."""
        return self.runtime == COMPOSE

    @property
    def kernels(self) -> bool:
        """Return whether the engines find FlashInfer's kernels compiled, as in the official image (vllm/kernels.py)."""
        return self.contained and self.image_has_engine


def build(agents: object, settings: Settings, host: Host | None = None) -> Plan:
    """Return the plan of one host for a roster (a list of dicts, see roster/validate.py).

    An agent that nothing fits for is in the plan with the verdict `no`, and `problems` has the sentence. Raises
    UsageError with a sentence for each invalid setting.
    """
    host = host or Host()
    roster = own_folders.with_stamps(require_valid(agents, host.configs, settings.gateway_port), host.stamps)
    _require_known("engine_accelerator", settings.accelerator, ("cuda", "cpu"))
    _require_known("agents_runtime", settings.runtime, (COMPOSE, NATIVE))
    host = host._replace(cards=tuple(card._replace(kernels=settings.kernels) for card in host.cards))
    decided = decide(roster, host, settings.accelerator)
    rivals = _rivals([each["gpus"] for each in decided])
    names = [agent["name"] for agent in roster]
    made = []
    for index, (agent, choice) in enumerate(zip(roster, decided, strict=True)):
        entry = _entry(agent, choice, settings, host)
        entry["conflicts"] = [names[other] for other in rivals[index]]
        # systemd stops the one before it starts the other only if the two are ordered, either way round.
        entry["after"] = [names[other] for other in rivals[index] if other < index]
        made.append(entry)
    no_card = compose.missing(host.means) if settings.contained and settings.accelerator == "cuda" else []
    return {
        "schema": SCHEMA,
        "runtime": settings.runtime,
        "image": settings.image if settings.contained else None,
        "accelerator": settings.accelerator,
        "engine_path": settings.engine_path,
        "models_store": settings.models_store,
        "gateway_port": settings.gateway_port,
        # What is not known yet and will be: nothing is downloaded while one of these stands.
        "waiting": [*(entry["refused"][0] for entry in made if entry["waits"]), *no_card],
        "problems": [
            *_beyond(roster, host, settings.accelerator),
            *(_does_not_fit(entry) for entry in made if not entry["taken"]),
        ],
        "agents": made,
    }


def _require_known(setting: str, value: str, allowed: tuple[str, str]) -> None:
    if value not in allowed:
        code, remedy = f"unknown_{setting.partition('_')[2]}", "Write {allowed[0]} or {allowed[1]}."
        raise UsageError(code, "{setting} is {value!r}.", remedy, setting=setting, value=value, allowed=list(allowed))


def _rivals(cards_of: list[list[int]]) -> list[list[int]]:
    """Return, for each agent, the positions of those that share a card with it."""
    return [
        [other for other, cards in enumerate(cards_of) if other != position and not set(own).isdisjoint(cards)]
        for position, own in enumerate(cards_of)
    ]


def _entry(agent: WantedAgent, decided: Decided, settings: Settings, host: Host) -> Agent:
    name, contained = agent["name"], settings.contained
    model_path = path_of(decided["model"], settings.models_store, decided["revision"], decided["quantize"])
    draft, draft_revision, draft_path = _draft(agent, settings.models_store)
    eager = options.is_eager(agent, settings.accelerator)
    place = options.Place(
        accelerator=settings.accelerator,
        host=CONTAINED_HOST if contained else LISTEN_HOST,
        port=ports.engine_port(agent["port"], settings.gateway_port),
        model_path=model_path,
        draft_path=draft_path,
        capability=_capability(decided, settings, host),
        kernels=settings.kernels,
    )
    start = start_timeout.Start(agent=name, model_path=model_path, store=settings.models_store, eager=eager)
    limits = start_timeout.limits(start, decided, host, settings.start_timeout_seconds)
    environment = compose.environment if contained else options.environment
    base: AgentBase = {
        "name": name,
        "description": agent.get("description"),
        "unit": unit_name(name),
        "host": LISTEN_HOST,
        "port": agent["port"],
        "engine_port": place.port,
        **decided,
        "model_path": model_path,
        "draft_model": draft,
        "draft_revision": draft_revision,
        "draft_model_path": draft_path,
        "temperature": agent["temperature"],
        "top_p": agent["top_p"],
        "config_path": f"{CONFIG_FOLDER}/{name}.yaml",
        "config": options.config(agent, decided, place, eager=eager),
        "enforce_eager": eager,
        "kernels": settings.kernels,
        "environment": environment(
            settings.accelerator,
            decided["gpus"],
            limits["start_timeout_seconds"],
            kernels=settings.kernels,
            eager=eager,
        ),
        **limits,
        "conflicts": [],
        "after": [],
    }
    entry = cast("Agent", base)
    if contained:
        image = compose.Image(settings.image or "", None if settings.image_has_engine else settings.engine_path)
        entry["compose_path"] = f"{CONFIG_FOLDER}/{name}.compose.yaml"
        entry["compose"] = compose.document(entry, settings.accelerator, image, host.means)
    return entry


def _draft(agent: WantedAgent, store: str) -> tuple[str | None, str | None, str | None]:
    """Return the name, the revision and the folder of the model that drafts, None for none."""
    drafting = agent.get("speculative_config")
    if drafting is None or "model" not in drafting:
        return None, None, None
    revision = drafting.get("revision")
    return drafting["model"], revision, path_of(drafting["model"], store, revision)


def _capability(decided: Decided, settings: Settings, host: Host) -> Capability | None:
    """Return the compute capability of an agent's oldest card, None on a CPU or where it is not known."""
    cards = [card for card in host.cards if settings.accelerator == "cuda" and card.number in decided["gpus"]]
    return min((card.capability for card in cards if card.capability), default=None)


def _beyond(roster: Roster, host: Host, accelerator: str) -> list[str]:
    """Return a sentence for each agent that wants a card which the host, once its cards are known, has not."""
    if accelerator == "cpu" or not host.cards:
        return []
    last = len(host.cards) - 1
    return [
        f"agents[{agent['name']}].gpus is {agent['gpus']}, and this host's GPUs are numbered 0 to {last}: write those."
        for agent in roster
        if any(number > last for number in agent.get("gpus", []))
    ]


def _does_not_fit(entry: Agent) -> str:
    reasons = " ".join(entry["refused"])
    return (
        f"agents[{entry['name']}].models: none is known to fit. {reasons} Add a smaller model, let the agent give up "
        "more (max_model_len_min, give_up), or write policy: exact for one that is tight or unknown."
    )
