"""Ask the running engines what `status` shows of them: all at the same time, with one deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import RoundhouseError
from ..host.systemd import Unit
from ..vllm.client import Engine, Load, ServedModel
from .drift import drift

if TYPE_CHECKING:
    from roundhouse.schema.facts import StatusRow
    from roundhouse.schema.plan import Agent, Plan

_LEAST_SECONDS = 0.001  # a socket does not wait for 0 s


class Answer(NamedTuple):
    """The answers of one engine; `problem` says which one is missing."""

    served: list[ServedModel]
    version: str | None
    load: Load | None
    problem: str | None


def fill(plan: Plan, running: Sequence[tuple[Agent, Unit, StatusRow]], seconds: float) -> None:
    """Write each engine's answers and drift into its row, or the problem of an engine that does not answer in time."""
    found = _ask_all([Engine(agent["host"], agent["engine_port"]) for agent, _, _ in running], seconds)
    for number, (agent, unit, row) in enumerate(running):
        answer = found[number]
        row["problem"] = answer.problem
        if answer.version is not None:
            row["version"] = answer.version
            row["max_model_len"] = answer.served[0].get("max_model_len") if answer.served else None
            row["drift"] = drift(plan, agent, unit, answer.served, answer.version)
        if answer.load:
            row["running"], row["waiting"], row["kv_use"] = answer.load


def _ask_all(engines: list[Engine], seconds: float) -> dict[int, Answer]:
    """Return the answers of each engine by its number."""
    end = time.monotonic() + seconds
    found: dict[int, Answer] = {}

    def ask(number: int) -> None:
        found[number] = _ask(engines[number], end)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(engines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()  # without a limit of its own, because each request ends at the deadline
    return found


def _ask(engine: Engine, end: float) -> Answer:
    served: list[ServedModel] = []
    version, problem = None, None
    try:
        served = engine.served(_left(end))
        version = engine.version(_left(end))
    except RoundhouseError as error:
        problem = error.message
    return Answer(served, version, engine.load(_left(end)), problem)


def _left(end: float) -> float:
    return max(_LEAST_SECONDS, end - time.monotonic())
