"""Build the plan from the roster and a host's facts: the choice for each agent, and the content of all files.

The action roundhouse_inspect and scripts/plan.py build it on the controller. deployed.py reads the deployed plan.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from ..errors import UsageError
from ..fit import beside
from ..models import own_folders
from ..roster import ports
from ..roster.validate import require_valid
from ..schema.plan import Agent, AgentBase, Decided, Plan, PlanCard
from ..schema.roster import Roster, WantedAgent
from ..util.pairs import pairs
from ..vllm import options
from ..vllm.formats import Capability
from . import accounts, compose, roles, start_timeout
from .decide import Host, decide
from .deployed import SCHEMA, unit_name
from .model_folder import path_of

CONFIG_FOLDER = "/etc/roundhouse/agents"
# Engines listen only here, because vLLM's API key does not protect all paths (vllm#58144); the gateway's keys do.
LISTEN_HOST = "127.0.0.1"
# A container has its own network; its port is published on LISTEN_HOST.
CONTAINED_HOST = "0.0.0.0"  # noqa: S104 - all interfaces of the container's own network
NATIVE, COMPOSE = "native", "compose"


class Settings(NamedTuple):
    """The host's settings in group_vars. `accelerator` is "cuda" or "cpu", `engine_path` the engine's environment.

    `models_store` contains the pulled models. `start_timeout_seconds` limits an engine's start; None or empty lets the
    plan compute it. `gateway_port` is the common endpoint of all agents, None without a gateway. `runtime` is "native"
    or "compose", which needs an `image`; without `image_has_engine` the container mounts the engine of `engine_path`.
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
        """Return true if the engines run in containers."""
        return self.runtime == COMPOSE

    @property
    def kernels(self) -> bool:
        """Return true if the engines have FlashInfer's compiled kernels, as in the official image (vllm/kernels.py)."""
        return self.contained and self.image_has_engine


def build(agents: object, settings: Settings, host: Host | None = None) -> Plan:
    """Return the plan of one host for a roster (a list of dicts, see roster/validate.py).

    If no model of an agent fits, the agent has the verdict `no` and `problems` has a sentence. Raises UsageError with
    a sentence for each invalid setting.
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
    for index, (agent, choice) in enumerate(pairs(roster, decided)):
        entry = _entry(agent, choice, settings, host)
        entry["conflicts"] = [names[other] for other in rivals[index]]
        # systemd stops one unit before it starts the other only if the two are ordered, in either direction.
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
        # Facts that become known later in the run. Nothing is downloaded before.
        "waiting": [*(entry["refused"][0] for entry in made if entry["waits"]), *no_card],
        "problems": [
            *settings_problems(roster, host, settings.accelerator),
            *(_does_not_fit(entry) for entry in made if not entry["taken"]),
        ],
        "cards": _cards(host) if settings.accelerator == "cuda" else [],
        "agents": made,
    }


def _require_known(setting: str, value: str, allowed: tuple[str, str]) -> None:
    if value not in allowed:
        code, remedy = f"unknown_{setting.partition('_')[2]}", "Write {allowed[0]} or {allowed[1]}."
        raise UsageError(code, "{setting} is {value!r}.", remedy, setting=setting, value=value, allowed=list(allowed))


def _rivals(cards_of: list[list[int]]) -> list[list[int]]:
    """Return, for each agent, the positions of the agents that share a card with it."""
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
        middleware=roles.MIDDLEWARE,
    )
    start = start_timeout.Start(agent=name, model_path=model_path, store=settings.models_store, eager=eager)
    uuids = _uuids(decided, settings, host)
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
        "role_defaults": roles.defaults(agent),
        "gpu_uuids": uuids,
        "config_path": f"{CONFIG_FOLDER}/{name}.yaml",
        "config": options.config(agent, decided, place, eager=eager),
        "enforce_eager": eager,
        "kernels": settings.kernels,
        "environment": environment(
            settings.accelerator,
            uuids or decided["gpus"],
            limits["start_timeout_seconds"],
            kernels=settings.kernels,
            eager=eager,
        )
        | options.caches(accounts.cache(name), settings.accelerator)
        | {"PYTHONPATH": roles.folder(name)},
        **limits,
        "conflicts": [],
        "after": [],
    }
    entry = cast("Agent", base)
    if passed := agent.get("engine_options"):
        entry["engine_options"] = passed
    if contained:
        image = compose.Image(settings.image or "", None if settings.image_has_engine else settings.engine_path)
        entry["compose_path"] = f"{CONFIG_FOLDER}/{name}.compose.yaml"
        entry["compose"] = compose.document(entry, settings.accelerator, image, host.means)
    return entry


def _uuids(decided: Decided, settings: Settings, host: Host) -> list[str]:
    """Return the UUIDs of an agent's cards, [] while one is unknown."""
    known = {card.number: card.uuid for card in host.cards if settings.accelerator == "cuda"}
    uuids = [known.get(number) for number in decided["gpus"]]
    return [uuid for uuid in uuids if uuid] if all(uuids) else []


def _cards(host: Host) -> list[PlanCard]:
    numbered: list[PlanCard] = [
        {"gpu": card.number, "uuid": card.uuid, "name": card.name, "problem": card.unusable} for card in host.cards
    ]
    return [*numbered, *host.other_cards]


def _draft(agent: WantedAgent, store: str) -> tuple[str | None, str | None, str | None]:
    """Return the name, the revision and the folder of the draft model, None without one."""
    drafting = agent.get("speculative_config")
    if drafting is None or "model" not in drafting:
        return None, None, None
    revision = drafting.get("revision")
    return drafting["model"], revision, path_of(drafting["model"], store, revision)


def _capability(decided: Decided, settings: Settings, host: Host) -> Capability | None:
    """Return the compute capability of an agent's oldest card, None on a CPU or if it is unknown."""
    cards = [card for card in host.cards if settings.accelerator == "cuda" and card.number in decided["gpus"]]
    return min((card.capability for card in cards if card.capability), default=None)


def settings_problems(roster: Roster, host: Host, accelerator: str) -> list[str]:
    """Return a sentence for each agent whose cards or share the host does not have, and for a host without a card."""
    if accelerator == "cpu":
        return []
    if all(card.unusable for card in host.cards):  # [] before the first inspection
        return [str(why) for why in (card["problem"] for card in _cards(host)) if why]
    last = len(host.cards) - 1
    found = []
    for agent in roster:
        gpus = agent.get("gpus", [])
        at = f"agents[{agent['name']}].gpus is {gpus}"
        if any(number > last for number in gpus):
            found.append(f"{at}, but this host has the GPUs 0 to {last}: write those numbers.")
            continue
        found += [f"{at}: {why}" for number in gpus if (why := host.cards[number].unusable)]
        share = agent["gpu_memory_utilization"]
        if share > beside.UNIFIED_SHARE and any(card.system_gib is not None for card in host.cards):
            at = f"agents[{agent['name']}].gpu_memory_utilization is {share:g}"
            found.append(f"{at}, but the card shares the host's memory: {beside.UNIFIED_RANGE}.")
    return found


def _does_not_fit(entry: Agent) -> str:
    reasons = " ".join(entry["refused"])
    return (
        f"agents[{entry['name']}].models: no model is known to fit. {reasons} Add a smaller model, allow more "
        "reductions (max_model_len_min, give_up), or write policy: exact for a model that is tight or unknown."
    )
