"""The canary: a fixed question at temperature 0, and the answer that the same deployment gave before.

An engine that answers the same question twice alike is taken as deterministic: its token ids are kept with the
deployment, and whoever answers otherwise later is not the engine that was deployed. Any other is held to answer text.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from ..doctor.diagnosis import cause
from ..errors import RoundhouseError
from ..host import gpu, journal, systemd
from ..plan.deployed import Agent, Plan
from ..state import serving
from ..vllm.client import Answer, Engine

SCHEMA = 1
# Requests of others in the same batch may change a greedy answer by rounding (vLLM is not batch invariant by default).
_TRIES = 3
# A first request may compile kernels; more than this is a hang. The plan may say otherwise: canary_timeout_seconds.
TIMEOUT_SECONDS = 60.0
# For the sentence about who serves, which is not to wait as long.
_ANSWERS_SECONDS = 10.0
_DYING_SECONDS = 3.0
# What of vLLM's options does not change an answer.
_NOT_THE_ANSWER = ("host", "port", "shutdown-timeout", "disable-access-log-for-endpoints")


class Another(RoundhouseError):
    """A text, and not the one of the deployment."""

    def __init__(self, answer: str, message: str) -> None:
        super().__init__("canary", message)
        self.answer = answer


def path() -> Path:
    """Return the file of the answers."""
    return serving.FOLDER / "canaries.json"


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


def answers(agent: Agent, engine: Engine) -> bool:
    """Return whether the agent answers a text, whichever."""
    try:
        return bool(engine.canary(agent["name"], min(_ANSWERS_SECONDS, _patience(agent))).text)
    except RoundhouseError:
        return False


def _ask(agent: Agent, engine: Engine) -> Answer:
    try:
        return engine.canary(agent["name"], _patience(agent))
    except RoundhouseError as error:
        raise RoundhouseError("canary", _why(agent, error)) from None


def _why(agent: Agent, error: RoundhouseError) -> str:
    name = agent["name"]
    if error.code == "canary":
        verify = (
            "" if agent["model"].startswith("/") else f"`roundhouse verify {agent['model']}` reads its weights again; "
        )
        return f"{error.message} {verify}`switch.py logs {name}` shows what its engine said."
    # An engine that dies answers with an error or cuts the line, and is gone a moment later.
    end = time.monotonic() + _DYING_SECONDS
    while (unit := systemd.show(agent["unit"])).state == "ready" and time.monotonic() < end:
        time.sleep(0.1)
    if unit.state == "ready":
        return f"{name} is healthy and answers no request: {error.message} See `switch.py logs {name}`."
    lines = journal.log_of_this_start(agent["unit"])
    return f"{name} was healthy and ended at its first request: {cause(name, unit, lines)}"


def _patience(agent: Agent) -> float:
    return float(agent.get("canary_timeout_seconds", TIMEOUT_SECONDS))


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
        serving.write(path(), {"schema": SCHEMA, "answers": _load() | {agent["name"]: entry}})
    except OSError:  # it is kept at the next switch; without it the answer was held to be text, as it was
        return


def _load() -> dict[str, Any]:
    try:
        kept = json.loads(path().read_text())
    except (FileNotFoundError, ValueError):
        return {}
    answers = kept.get("answers") if isinstance(kept, dict) and kept.get("schema") == SCHEMA else None
    return answers if isinstance(answers, dict) else {}
