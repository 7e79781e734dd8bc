"""What is wrong with one agent: its model, its unit, its last starts, its port, its card, its speed.

What is wrong with this host and its agents, looked for all at once: doctor.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..agents import gpu_memory, kernel_log, ports, start_history, status
from ..doctor.diagnosis import EVIDENCE_CHARACTERS, UNKNOWN, Finding, diagnose, of_cause
from ..errors import RoundhouseError
from ..gateway import haproxy
from ..host import gpu, systemd
from ..host.journal import Entry
from ..models import pull_job, safetensors
from ..plan.deployed import Agent, Plan
from ..schema.cards import GpuFacts
from . import slow_inference


class Seen(NamedTuple):
    """What was looked at once for all agents: the cards' facts, and the kernel's log."""

    facts: GpuFacts
    kernel: list[Entry]


def examine_agent(plan: Plan, agent: Agent, seen: Seen) -> Iterator[Finding]:
    """Yield everything that is wrong with the agent."""
    name = agent["name"]
    if problem := safetensors.problem(Path(agent["model_path"])):
        sentence = "The model's folder is not whole."
        yield Finding("model damaged", name, sentence, problem, safetensors.cure(agent["model"], agent.get("quantize")))
    try:
        unit = systemd.show(agent["unit"])
    except RoundhouseError as error:
        yield Finding("unit missing", name, "The agent's unit is gone.", error.message, "ansible-playbook site.yml")
        return
    past = start_history.of(agent["unit"])
    loop = start_history.loop(agent, unit, past, seen.kernel)
    if loop:
        yield loop
    if unit.state == "ready":
        yield from _serving(plan, agent, seen)
        return
    if not loop and (failed := start_history.last(agent, unit, past, seen.kernel)):
        yield failed
    holder = ports.holder(agent["engine_port"])
    if holder and not (holder.unit or "").startswith("roundhouse-"):
        yield of_cause("port taken", f"{holder} listens on port {agent['engine_port']}", name)
    if agent.get("gpus") and unit.state != "starting":
        yield from _strangers(plan, agent)


def _serving(plan: Plan, agent: Agent, seen: Seen) -> Iterator[Finding]:
    name = agent["name"]
    (row,) = status.rows(plan | {"agents": [agent]})
    for sentence in (row["problem"], *row["drift"]):
        if sentence:
            cause = "drift" if sentence != row["problem"] else "engine hangs"
            yield Finding(cause, name, "The running engine is not as planned.", sentence, "Run `roundhouse resume`.")
    yield from slow_inference.findings(agent, gpu_memory.cards(agent.get("gpus") or [], seen.facts))


def _strangers(plan: Plan, agent: Agent) -> Iterator[Finding]:
    try:
        gpu_memory.refuse_strangers(agent | {"free_timeout_seconds": 0}, [other["unit"] for other in plan["agents"]])
    except RoundhouseError as error:
        yield of_cause("memory held", error.message, agent["name"])


GIB = 1024**3
# Below this an engine's caches, logs and states soon find no room.
_FREE_DISK_GIB = 1.0
_FOLDERS = ("/var/lib/roundhouse", "/var/cache/roundhouse", "/var/log", tempfile.gettempdir())
# Causes that one agent, or the host, may have several of.
_MANY = (slow_inference.CAUSE, "drift", "disk full")
# Where models are pulled to before there is a plan that says so.
_STORE = "/var/lib/roundhouse/models"


def of_driver(rows: list[dict[str, Any]], facts: GpuFacts) -> Finding | None:
    """Return the trouble that the driver's own state names (doctor.rows), None when it is well.

    A card that answers through NVML has a driver, whatever else of it cannot be seen, as within a container.
    """
    answers = facts["nvml"]["driver_version"] is not None
    for row in rows:
        if not row["ok"] and not (answers and row["state"] == "no_driver"):
            return Finding(row["state"], None, row["sentence"], f"{row['part']}: {row['state']}", row["cure"])
    return None


def examine(plan: Plan | None, driver: Finding | None = None, *, facts: GpuFacts | None = None) -> list[Finding]:
    """Return everything that is wrong, the host's troubles first; without a plan only the host's."""
    facts = gpu.facts() if facts is None else facts
    kernel = kernel_log.read()
    answers = facts["nvml"]["driver_version"] is not None
    found = [] if driver is None else [driver]
    if plan and (driver is None or driver.cause in ("no_driver", "no_gpu")):
        found += _driver(plan, facts)
    found += [*kernel_log.findings(kernel, driver_answers=answers), *_pulls(plan)]
    if plan is None:
        return _once(found)
    found += [*_disks(), *_switch(), *_gateway(plan)]
    seen = Seen(facts, kernel)
    for agent in plan["agents"]:
        found += examine_agent(plan, agent, seen)
    return _once(found)


def _once(found: list[Finding]) -> list[Finding]:
    """Leave out what was found before by another way, as a port both in a log and on the host."""
    kept: dict[tuple[str | None, ...], Finding] = {}
    for each in found:
        kept.setdefault((each.cause, each.agent, each.evidence if each.cause in _MANY else None), each)
    return [*kept.values()]


def text(found: list[Finding]) -> str:
    """Return the findings for a person."""
    if not found:
        return "Nothing is wrong that this can see."
    blocks = [
        f"{each.agent or 'host'}: {each.cause}\n  {each.sentence}\n  seen: {each.evidence}\n  cure: {each.cure}"
        for each in found
    ]
    return "\n\n".join(blocks)


def _driver(plan: Plan, facts: GpuFacts) -> Iterator[Finding]:
    error = facts["nvml"]["error"]
    if plan.get("accelerator") != "cuda" or error is None:
        return
    name = "driver mismatch" if error == gpu.VERSION_MISMATCH else "no card"
    yield of_cause(name, f"NVML does not start: its error {error}")


def _disks() -> Iterator[Finding]:
    for folder in filter(os.path.isdir, _FOLDERS):
        status_of = os.statvfs(folder)
        free_gib = status_of.f_bavail * status_of.f_frsize / GIB
        if free_gib < _FREE_DISK_GIB:
            evidence = f"{folder} has {free_gib:.2f} GiB free"
            yield of_cause("disk full", evidence)


def _switch() -> Iterator[Finding]:
    told = status.running_switch()
    if told and "was killed" in told:
        yield Finding("switch killed", None, "A switch ended half-way.", told, "Run `roundhouse resume`.")


def _gateway(plan: Plan) -> Iterator[Finding]:
    if plan.get("gateway_port") is None or (state := systemd.state(haproxy.UNIT)) == "ready":
        return
    seen = f"{haproxy.UNIT} is {state or 'unknown to systemd'}"
    cure = f"See why with `journalctl -u {haproxy.UNIT} -n 50`, then `ansible-playbook site.yml --tags gateway`."
    yield Finding("gateway down", None, "Nobody answers on the agents' ports, whoever serves.", seen, cure)


def _pulls(plan: Plan | None) -> Iterator[Finding]:
    """Yield the pulls that failed, or were ended, and that none made good since."""
    users = {agent["model"]: agent["name"] for agent in (plan or {}).get("agents", [])}
    for each in pull_job.failed(Path((plan or {}).get("models_store") or _STORE)):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.began))
        ended = "it was ended before it was whole, as by a signal or a reboot"
        evidence = f"pull of {each.model} at {when}: {each.error or ended}"
        found = diagnose(users.get(each.model, ""), [each.error or ""])
        if found.cause == UNKNOWN:
            found = of_cause("download failed", evidence)
        yield found._replace(agent=users.get(each.model), evidence=evidence[:EVIDENCE_CHARACTERS])
