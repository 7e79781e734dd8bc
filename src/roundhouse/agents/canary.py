"""Ask the canary: a fixed question at temperature 0, compared with the answer of the same deployment before.

An engine that gives the same answer twice counts as deterministic. Its token ids are kept with the deployment, and a
different answer later means a different engine. From any other engine only readable text is required.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ..doctor import diagnosis
from ..doctor.causes import CANARY
from ..errors import RoundhouseError
from ..host import gpu, journal, systemd
from ..state import serving
from ..util import json_file
from ..vllm.client import Answer, Engine

if TYPE_CHECKING:
    from typing import TypeGuard  # Python 3.10

    from roundhouse.schema.plan import Agent, Plan

PROMPT = "Answer with one short sentence."
MAX_TOKENS = 16
SCHEMA = 1
# Other requests in the same batch may change a greedy answer by rounding (vLLM is not batch invariant by default).
_TRIES = 3
# A first request may compile kernels; a longer wait is a hang. canary_timeout_seconds in the plan overrides it.
TIMEOUT_SECONDS = 60.0
# A shorter limit for the sentence about the active agents.
_ANSWERS_SECONDS = 10.0
_DYING_SECONDS = 3.0
# Options of vLLM that do not change an answer.
_NOT_THE_ANSWER = ("host", "port", "shutdown-timeout", "disable-access-log-for-endpoints", "allowed-media-domains")


class ChangedAnswer(RoundhouseError):
    """The error of an answer that differs from the deployment's."""

    def __init__(self, name: str, answer: str, expected: str) -> None:
        super().__init__(
            "canary_changed",
            "{agent} gave the wrong canary answer, {answer!r} instead of {expected!r}: its weights or kernels changed.",
            "Verify the model. If the change is intended, delete {path}.",
            agent=name,
            answer=answer,
            expected=expected,
            path=str(path()),
        )
        self.answer = answer


class Kept(TypedDict):
    """The answer of a deployment in the file."""

    deployment: str  # a hash
    text: str
    token_ids: list[int] | None  # None: the engine is not deterministic


def path() -> Path:
    """Return the file of the answers."""
    return serving.FOLDER / "canaries.json"


def verify(plan: Plan, agent: Agent) -> str:
    """Return the answer's text. Raises RoundhouseError for unreadable text, or ChangedAnswer."""
    answer = _ask(agent)
    if answer.token_ids is None:
        return answer.text
    known = _load().get(agent["name"])
    if known is None or known.get("deployment") != _deployment(plan, agent):
        _keep(plan, agent, answer, deterministic=_ask(agent).token_ids == answer.token_ids)
        return answer.text
    tries = 1
    while known["token_ids"] not in (None, answer.token_ids):
        if tries == _TRIES:
            raise ChangedAnswer(agent["name"], answer.text, known["text"])
        answer = _ask(agent)
        tries += 1
    return answer.text


def answers(agent: Agent) -> bool:
    """Return whether the agent answers any text."""
    try:
        return bool(_complete(agent, min(_ANSWERS_SECONDS, _timeout_seconds(agent))).text)
    except RoundhouseError:
        return False


def _complete(agent: Agent, timeout_seconds: float) -> Answer:
    return Engine(agent["host"], agent["engine_port"]).canary(agent["name"], PROMPT, MAX_TOKENS, timeout_seconds)


def _ask(agent: Agent) -> Answer:
    try:
        return _complete(agent, _timeout_seconds(agent))
    except RoundhouseError as error:
        raise _explained(agent, error) from None


def _explained(agent: Agent, error: RoundhouseError) -> RoundhouseError:
    """Return the error of a failed canary: a wrong answer, an engine that hangs, or one that ended."""
    name = agent["name"]
    if error.code in CANARY:
        verify = "" if agent["model"].startswith("/") else f"`roundhouse verify {agent['model']}` reads its weights; "
        remedy = f"{verify}`roundhouse logs {name}` shows the engine's log."
        error.remedy = remedy[:1].upper() + remedy[1:]
        return error
    # An engine that crashes answers with an error or closes the connection, and ends a moment later.
    end = time.monotonic() + _DYING_SECONDS
    while (unit := systemd.show(agent["unit"])).state == "ready" and time.monotonic() < end:
        time.sleep(0.1)
    if unit.state == "ready":
        text, remedy = "{agent} is healthy but did not answer a request: {reason}", "Read `roundhouse logs {agent}`."
        return RoundhouseError("canary_unanswered", text, remedy, agent=name, reason=error.message)
    lines = journal.log_of_this_start(agent["unit"])
    what = "{agent} was healthy and ended at its first request"
    return diagnosis.ended("engine_ended_at_canary", what, name, unit, lines)


def _timeout_seconds(agent: Agent) -> float:
    return float(agent.get("canary_timeout_seconds", TIMEOUT_SECONDS))


def _deployment(plan: Plan, agent: Agent) -> str:
    """Return a hash of everything known that an answer depends on, including the question."""
    config = {name: value for name, value in agent["config"].items() if name not in _NOT_THE_ANSWER}
    model = [agent["model_path"], agent.get("revision"), agent.get("quantization")]
    asked = [PROMPT, MAX_TOKENS]
    engine = [plan.get("engine_path"), plan.get("runtime"), gpu.loaded_driver()]
    parts: list[object] = [config, model, agent["environment"], engine, asked]
    if "role_defaults" in agent:  # not in the plan of an earlier version
        parts.append(agent["role_defaults"])
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _keep(plan: Plan, agent: Agent, answer: Answer, *, deterministic: bool) -> None:
    ids = answer.token_ids if deterministic else None
    entry: Kept = {"deployment": _deployment(plan, agent), "text": answer.text, "token_ids": ids}
    try:
        json_file.write(path(), {"schema": SCHEMA, "answers": _load() | {agent["name"]: entry}})
    except OSError:  # the next switch keeps it
        return


def _load() -> dict[str, Kept]:
    answers = json_file.read(path(), SCHEMA).get("answers")
    if not isinstance(answers, dict):
        return {}
    # A damaged entry must not fail every switch. Without it, the agent's next answer is kept.
    return {name: each for name, each in answers.items() if _is_whole(each)}


def _is_whole(each: object) -> TypeGuard[Kept]:
    return isinstance(each, dict) and each.keys() == Kept.__required_keys__
