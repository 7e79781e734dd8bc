"""The canary: a fixed question at temperature 0, and the answer that the same deployment gave before.

An engine that answers the same question twice alike is taken as deterministic: its token ids are kept with the
deployment, and whoever answers otherwise later is not the engine that was deployed. Any other is held to answer text.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from . import gpu, state
from .engine import Answer, Engine
from .errors import RoundhouseError
from .plan import Agent, Plan

SCHEMA = 1
# Requests of others in the same batch may change a greedy answer by rounding (vLLM is not batch invariant by default).
_TRIES = 3
# A first request may compile kernels; more than this is a hang. The plan may say otherwise: canary_timeout_seconds.
TIMEOUT_SECONDS = 60.0
# What of vLLM's options does not change an answer.
_NOT_THE_ANSWER = ("host", "port", "shutdown-timeout", "disable-access-log-for-endpoints")


class Another(RoundhouseError):
    """A text, and not the one of the deployment."""

    def __init__(self, answer: str, message: str) -> None:
        super().__init__("canary", message)
        self.answer = answer


def path() -> Path:
    """Return the file of the answers."""
    return state.FOLDER / "canaries.json"


def verify(plan: Plan, agent: Agent, engine: Engine) -> str:
    """Return the answer's text. Raises RoundhouseError when it is none, or another than this deployment's."""
    answer = _ask(agent, engine)
    if answer.token_ids is None:
        return answer.text
    known = _load().get(agent["name"], {})
    if known.get("deployment") != _deployment(plan, agent):
        _keep(plan, agent, answer, deterministic=_ask(agent, engine).token_ids == answer.token_ids)
        return answer.text
    tries = 1
    while known["token_ids"] not in (None, answer.token_ids):
        if tries == _TRIES:
            raise Another(
                answer.text,
                f"{agent['name']} answers {answer.text!r}, and {known['text']!r} since it was deployed: its weights or "
                f"its kernels are not the same. Verify the model; if the change is meant, delete {path()}.",
            )
        answer = _ask(agent, engine)
        tries += 1
    return answer.text


def _ask(agent: Agent, engine: Engine) -> Answer:
    return engine.canary(agent["name"], agent.get("canary_timeout_seconds", TIMEOUT_SECONDS))


def _deployment(plan: Plan, agent: Agent) -> str:
    """Return a hash of all that an answer depends on and that is known of: another hash is another answer."""
    config = {name: value for name, value in (agent.get("config") or {}).items() if name not in _NOT_THE_ANSWER}
    model = [agent["model_path"], agent.get("revision"), agent.get("quantization")]
    parts = [config, model, agent["environment"], plan.get("engine_path"), plan.get("runtime"), gpu.loaded_driver()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _keep(plan: Plan, agent: Agent, answer: Answer, *, deterministic: bool) -> None:
    ids = answer.token_ids if deterministic else None
    entry = {"deployment": _deployment(plan, agent), "text": answer.text, "token_ids": ids}
    try:
        state.write(path(), {"schema": SCHEMA, "answers": _load() | {agent["name"]: entry}})
    except OSError:  # it is kept at the next switch; without it the answer was held to be text, as it was
        return


def _load() -> dict[str, Any]:
    try:
        kept = json.loads(path().read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return dict(kept["answers"]) if isinstance(kept, dict) and kept.get("schema") == SCHEMA else {}
