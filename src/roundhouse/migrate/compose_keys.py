"""Which cards an old set-up gave its engine, and how many of them share the model: `gpus` of a roster.

What stands around the engine in a compose file, and why little of it is in a roster.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ..roster.ports import METRICS_ABOVE
from ..vllm import defaults
from .report import ALREADY, BECAME, LEFT, NEAREST, NOTHING, Said

Values = Mapping[str, "str | None"]

_CHOOSES = "The plan chooses the cards where the roster names none."
_ORDER = "Counted as nvidia-smi does, by the PCI bus; CUDA's own order is the fastest first."


def indices(value: str | None) -> list[int] | None:
    """Return the cards that a list such as 0,1 names, None for all, for names of another kind, or for none."""
    parts = [part.strip() for part in (value or "").split(",") if part.strip()]
    return [int(part) for part in parts] if parts and all(part.isdecimal() for part in parts) else None


def ranks(values: Values) -> int:
    """Return the cards that share the model."""
    told = values.get("tensor-parallel-size") or ""
    return int(told) if told.isdecimal() and int(told) > 0 else 1


def visible(value: str | None, values: Values) -> Said:
    """Return what CUDA_VISIBLE_DEVICES and its like mean."""
    cards, count = indices(value), ranks(values)
    if cards is None:
        named = (value or "").strip().lower()
        if named in ("-1", "none", "void"):
            return Said(NOTHING, "An engine without a card is the lab's: engine_accelerator: cpu.")
        how = "" if named in ("all", "") else "A roster counts cards and takes no UUIDs. "
        return Said(ALREADY if named in ("all", "") else LEFT, f"{how}{_CHOOSES}")
    if len(cards) == count:
        return Said(BECAME, _ORDER, {"gpus": cards}, f"CUDA_VISIBLE_DEVICES={value}")
    if len(cards) > count:
        why = f"The engine was told of {len(cards)} cards and used {count} (tensor_parallel_size). {_ORDER}"
        return Said(NEAREST, why, {"gpus": cards[:count]}, f"CUDA_VISIBLE_DEVICES={','.join(map(str, cards[:count]))}")
    why = f"Tensor parallelism of {count} wants {count} cards, and these are {len(cards)}: it did not start so."
    return Said(NEAREST, why, {"gpus": cards})


def parallel(value: str | None, values: Values) -> Said:
    """Return what a tensor parallel size means beside the cards that are named."""
    if not (value or "").isdecimal() or int(value or 0) < 1:
        return Said(LEFT, f"{value!r} is no number of cards.")
    count = int(value or 1)
    if count == 1:
        return Said(ALREADY, "One card holds the model unless the plan needs more.")
    named = next((cards for name in VISIBLE if (cards := indices(values.get(name)))), None)
    cards = named if named is not None else list(range(count))
    why = "Cards that share a model split it evenly, so the smallest of them sets the limit."
    return Said(BECAME, why, {"gpus": cards[:count]}, f"--tensor-parallel-size {count}")


def reserved(value: str | None, values: Values) -> Said:
    """Return what compose's `count` of devices means."""
    named = next((cards for name in VISIBLE if (cards := indices(values.get(name)))), None) or []
    wanted = max(ranks(values), len(named))
    if (value or "").isdecimal() and int(value or 0) < wanted:
        why = f"It hid all but {value} of the {wanted} cards that its engine was told of. {_CHOOSES}"
        return Said(LEFT, why)
    return Said(ALREADY, f"{_CHOOSES} No container shares a card here: systemd lets one agent run on it at a time.")


# Where a source names its cards, what the engine itself sees first.
VISIBLE = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "device_ids")
CARDS: dict[str, Callable[[str | None, Values], Said]] = {
    **dict.fromkeys(VISIBLE, visible),
    "tensor-parallel-size": parallel,
    "count": reserved,
}


_ENGINE = ".".join(map(str, defaults.PINNED))
_HEALTH = (
    "A switch asks /health itself, for as long as the plan lets a start take, and then for a real answer; a guard ends "
    "an engine that hangs, and its unit starts it again. Compose only marks a container as unhealthy and restarts "
    "nothing; 40 s are too few for a cold start."
)
_UNIT = "Each agent is a systemd unit: it is restarted when it ends, and a reboot brings back who served last."
ONE_KEY = "Agents answer on this host's loopback, without a key. For others: gateway_listen, and roundhouse keys."
_KEYS = {
    "image": (
        ALREADY,
        f"Each agent has a container of vLLM {_ENGINE}'s image, by its digest (container_image).",
    ),
    "build": (NOTHING, f"The engine is vLLM {_ENGINE}, locked by hash in an environment of its own."),
    "restart": (ALREADY, _UNIT),
    "container_name": (ALREADY, "The unit is roundhouse-NAME.service."),
    "healthcheck": (ALREADY, _HEALTH),
    "runtime": (ALREADY, "The driver and the cards are the roles' to see to."),
    "gpus": (ALREADY, "The plan chooses the cards where the roster names none."),
    "driver": (ALREADY, "The driver and the cards are the roles' to see to."),
    "capabilities": (ALREADY, "The driver and the cards are the roles' to see to."),
    "shm_size": (ALREADY, "Its container has enough of it, and an engine without one has the host's."),
    "ipc": (ALREADY, "Its container has enough of it, and an engine without one has the host's."),
    "ulimits": (ALREADY, "They are the container's; the unit has its own."),
    "env_file": (ALREADY, "Its variables are read with this file."),
    "env_file that is not there": (LEFT, "There is no such file: put it beside this one, or its settings are lost."),
    "environment of one word": (LEFT, "It has to be a list of NAME=VALUE, or NAME: VALUE a line."),
    "ports of one word": (LEFT, "It has to be a list."),
    "volumes of one word": (LEFT, "It has to be a list."),
    "profiles": (ALREADY, "Agents that share a card run one at a time anyway: roundhouse AGENT switches."),
    "logging": (LEFT, "Logs go to the journal: roundhouse logs AGENT."),
    "extends": (LEFT, "It is not followed: `docker compose config > one.yml` writes it all out; import that."),
    "network_mode": (LEFT, "An engine listens on the host's loopback."),
    "networks": (LEFT, "An engine listens on the host's loopback."),
    "expose": (LEFT, "An engine listens on the host's loopback."),
    "depends_on": (LEFT, "Agents do not wait for one another."),
    "labels": (LEFT, "A unit has none."),
    "user": (ALREADY, "The engines run as a user of their own."),
    "working_dir": (LEFT, "It is the container's."),
    "version": (NOTHING, "Compose itself has not read it since its second version."),
    "limits": (LEFT, "The plan sees to the card's memory; a unit's own limits are systemd's (systemctl edit)."),
    "secrets": (LEFT, "A token for gated models is models_token, from the environment or a vault."),
    "line": (NOTHING, "It is no assignment."),
}
_OTHER = (LEFT, "A roster has no such thing.")
_CACHE = re.compile(r"huggingface|/hub\b|\.cache|transformers", re.IGNORECASE)
# Variables of others than vLLM.
_VARIABLES = {
    "HF_TOKEN": (LEFT, "models_token of the host takes it from HF_TOKEN at each run; a roster holds no secret."),
    "HF_ENDPOINT": (LEFT, "Write models_source in the inventory: it may be a mirror."),
    "PYTORCH_CUDA_ALLOC_CONF": (LEFT, "The plan counts with PyTorch's own defaults."),
    "NVIDIA_DRIVER_CAPABILITIES": (ALREADY, "It is the container's."),
    "CUDA_DEVICE_ORDER": (ALREADY, "Cards are counted by the PCI bus."),
}
_VARIABLES["HUGGING_FACE_HUB_TOKEN"] = _VARIABLES["HUGGINGFACE_TOKEN"] = _VARIABLES["HF_TOKEN"]
_OWN = {
    "VLLM_API_KEY": (LEFT, ONE_KEY),
    "VLLM_LOGGING_LEVEL": (LEFT, "Logs go to the journal: roundhouse logs AGENT."),
    "VLLM_NO_USAGE_STATS": (ALREADY, "Roundhouse sets it for each engine."),
    "VLLM_CACHE_ROOT": (ALREADY, "Roundhouse sets it for each engine."),
    "VLLM_WORKER_MULTIPROC_METHOD": (LEFT, "vLLM has it and a roster does not."),
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": (LEFT, "The plan keeps to the model's own limit."),
}


def key(name: str) -> Said:
    """Return what a key of a compose service means."""
    return Said(*_KEYS.get(name, _OTHER))


def variable(name: str) -> Said:
    """Return what a variable means that is named after no option."""
    if name in _VARIABLES or name in _OWN:
        return Said(*(_VARIABLES | _OWN)[name])
    if name.startswith("VLLM_"):
        why = "Roundhouse sets none of its own accord, and vLLM ends a start with one that it does not know."
        return Said(LEFT, f"A roster has no word for it, whether vLLM has such a variable or not. {why}")
    if name.startswith(("HF_", "TRANSFORMERS_")):
        return Said(ALREADY, "Engines run offline, from Roundhouse's own store of models.")
    if name.startswith("OLLAMA_"):
        return Said(LEFT, "It is Ollama's: `roundhouse import ollama` reads its models.")
    return Said(LEFT, "It is none of the engine's.")


def volume(value: str | None) -> Said:
    """Return what a mounted folder means."""
    if _CACHE.search(value or ""):
        why = (
            "Models lie in Roundhouse's own store (models_store), pulled and verified there; this cache is left alone."
        )
        return Said(ALREADY, why)
    return Said(LEFT, "An engine sees its own model of the host: one in a folder of yours is named by its path.")


def port(value: str | None, inside: str, own: str) -> Said:
    """Return what one published port means; `inside` is the container's, `own` the one of the engine's API."""
    published = (value or "").rpartition(":")[2]
    if own.isdecimal() and inside == str(int(own) + METRICS_ABOVE):
        metrics = f"The gateway has the engine's metrics {METRICS_ABOVE} above its agent's port, at /metrics."
        return Said(ALREADY, metrics)
    if inside != own:
        return Said(NOTHING, "vLLM listens on the port of its API alone.")
    if not published.isdecimal():
        return Said(LEFT, "It names no port of the host.")
    loopback = (value or "").startswith("127.")
    why = "Its API answers there." if loopback else "Its API answers there, on loopback; compose published it to all."
    return Said(BECAME if loopback else NEAREST, why, {"port": int(published)}, f"--port {published}")
