"""How long an agent's start and stop may take, and after how many starts it is given up: what its unit is told."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import flags, start_limit
from .decision import Host
from .start_limit import Load

# systemd waits this much longer than the engine's own drain before it kills.
STOP_MARGIN_SECONDS = 30
# An engine that dies may leave its port and its card a moment later.
RESTART_SECONDS = 5
# Starts in a window before an agent is given up and who served before has the card again: enough for what passes by
# itself, few enough that the users wait minutes and not an hour.
START_TRIES = 4


class Asked(NamedTuple):
    """Where the model lies, and the pulled ones; `setting` is agents_start_timeout_seconds, None for computed."""

    model_path: str
    store: str
    setting: Any


def of(agent: dict[str, Any], decided: dict[str, Any], host: Host, asked: Asked) -> dict[str, Any]:
    """Return the limits of one agent as the plan has them. Raises UsageError for a setting that cannot be meant."""
    load = _load(agent, decided, host, asked)
    start = start_limit.chosen(asked.setting, load, None if host.again else _deployed(agent["name"], load, host, asked))
    stop_seconds = flags.SHUTDOWN_TIMEOUT_SECONDS + STOP_MARGIN_SECONDS
    return {
        "start_timeout_seconds": start["seconds"],
        "start_timeout_why": start["why"],
        "stop_timeout_seconds": stop_seconds,
        "restart_seconds": RESTART_SECONDS,
        "start_tries": START_TRIES,
        "start_tries_seconds": start_limit.window_seconds(START_TRIES, start["seconds"], stop_seconds, RESTART_SECONDS),
    }


def _load(agent: dict[str, Any], decided: dict[str, Any], host: Host, asked: Asked) -> Load:
    own = host.disk.get(asked.model_path, {})
    fitted = (decided["fit"] or {}).get("weights_gib_per_rank")
    fitted_bytes = None if fitted is None else fitted * len(decided["gpus"]) * start_limit.GIB
    return Load(
        own.get("weights_bytes", fitted_bytes),
        (own or host.disk.get(asked.store, {})).get("bytes_per_second"),
        bool(agent.get("enforce_eager")),
        start_limit.slowest(host.starts, asked.model_path),
    )


def _deployed(name: str, load: Load, host: Host, asked: Asked) -> dict[str, Any] | None:
    """Return the limit that the same start was deployed with, None for none."""
    agents = {each["name"]: each for each in (host.deployed or {}).get("agents", [])}
    before = agents.get(name, {})
    if before.get("model_path") != asked.model_path or "start_timeout_why" not in before:
        return None
    if bool(before["config"].get("enforce-eager")) != load.eager:
        return None
    return {"seconds": before["start_timeout_seconds"], "why": before["start_timeout_why"]}
