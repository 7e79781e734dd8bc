"""Examine the host and its agents for the command `doctor`. The package `doctor` has the causes and remedies."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..agents import crashes, kernel_log, status
from ..doctor.cause import UNKNOWN, heading
from ..doctor.diagnosis import EVIDENCE_CHARACTERS, Finding, diagnose, of_cause
from ..gateway import haproxy
from ..host import gpu, gpu_problem, systemd
from ..models import pull_job
from ..schema.cards import GpuFacts
from ..schema.facts import DriverRow
from ..schema.plan import Plan
from ..util import timestamps
from ..util.units import GIB
from . import agent, slow_inference

# With less free space an engine's caches, logs and state soon fill the disk.
_FREE_DISK_GIB = 1.0
_FOLDERS = ("/var/lib/roundhouse", "/var/cache/roundhouse", "/var/log", tempfile.gettempdir())
# Causes that one agent, or the host, may have several times.
_MANY = (slow_inference.CODE, "drift", "disk_full", gpu_problem.LOST, gpu_problem.MIG)
# The folder of pulled models before a plan names one.
_STORE = "/var/lib/roundhouse/models"


def of_driver(rows: list[DriverRow], facts: GpuFacts) -> Finding | None:
    """Return the problem in the driver's state (driver.rows), None without one.

    A GPU that answers through NVML has a driver, even if other parts of it are not visible, as within a container.
    """
    answers = facts["nvml"]["driver_version"] is not None
    for row in rows:
        if not row["ok"] and not (answers and row["state"] == "no_driver"):
            evidence = f"{row['part']}: {row['state']}"
            return Finding(row["state"], None, row["text"], evidence, row["remedy"])
    return None


def of_plan(rows: list[DriverRow], plan: Plan | None) -> list[DriverRow]:
    """Return the rows of the driver as they count for a plan: on a CPU host a missing GPU or driver is not a fault."""
    if plan is None or plan["accelerator"] != "cpu":
        return rows
    text = "The plan runs vLLM on the CPU, without an NVIDIA GPU."
    unneeded: DriverRow = {"part": "driver", "state": "not needed", "text": text, "remedy": "", "ok": True}
    return [row if row["ok"] else {**unneeded, "part": row["part"]} for row in rows]


def examine(plan: Plan | None, driver: Finding | None = None, *, facts: GpuFacts | None = None) -> list[Finding]:
    """Return a finding for each problem, the host's first; without a plan only the host's.

    Crashes and failovers of the last 24 hours are findings too, so status, history and doctor agree.
    """
    seen = agent.observe(facts)
    answers = seen.facts["nvml"]["driver_version"] is not None
    found = [] if driver is None else [driver]
    if plan and (driver is None or driver.code in ("no_driver", "no_gpu")):
        found += _driver(plan, seen.facts)
    # First, because a finding of the kernel's log has the same code and does not name the card.
    found += [*_cards(plan, seen.facts), *kernel_log.findings(seen.kernel, driver_answers=answers), *_pulls(plan)]
    if plan is not None:
        found += [*_disks(), *_switch(), *_gateway(plan)]
        for each in plan["agents"]:
            found += agent.examine(plan, each, seen)
        found += crashes.findings(plan)
    return _once(found)


def _once(found: list[Finding]) -> list[Finding]:
    """Drop a finding of the same code and agent as an earlier one, such as a port in a log and on the host."""
    kept: dict[tuple[str | None, ...], Finding] = {}
    for each in found:
        kept.setdefault((each.code, each.agent, each.evidence if each.code in _MANY else None), each)
    return [*kept.values()]


def text(found: list[Finding]) -> str:
    """Return the findings for a person."""
    if not found:
        return "No problem was found."
    return "\n\n".join(map(_block, found))


def _block(found: Finding) -> str:
    title = f"{found.agent or 'host'}: {heading(found.code)}"
    return f"{title}\n  {found.text}\n  evidence: {found.evidence}\n  remedy: {found.remedy}"


def _driver(plan: Plan, facts: GpuFacts) -> Iterator[Finding]:
    error = facts["nvml"]["error"]
    if plan.get("accelerator") != "cuda" or error is None:
        return
    code = "driver_mismatch" if error == gpu.VERSION_MISMATCH else "no_card"
    yield of_cause(code, f"NVML does not start: its error {error}")


def _cards(plan: Plan | None, facts: GpuFacts) -> Iterator[Finding]:
    """Yield a finding for each GPU that is lost, and for each one in MIG mode."""
    if plan and plan["accelerator"] != "cuda":
        return
    for card in facts["gpus"]:
        why = gpu_problem.of(card)
        if why and why.code not in (gpu_problem.UNBOUND, gpu_problem.TOO_OLD):
            yield Finding(why.code, None, why.text, f"PCI address {card['address']}", why.remedy)


def _disks() -> Iterator[Finding]:
    for folder in filter(os.path.isdir, _FOLDERS):
        disk = os.statvfs(folder)
        free_gib = disk.f_bavail * disk.f_frsize / GIB
        if free_gib < _FREE_DISK_GIB:
            yield of_cause("disk_full", f"{folder} has {free_gib:.2f} GiB free")


def _switch() -> Iterator[Finding]:
    if killed := status.killed_switch():
        yield Finding(
            code="switch_killed",
            agent=None,
            text="A switch was killed before it was complete.",
            evidence=killed,
            remedy="Run `roundhouse resume`.",
        )


def _gateway(plan: Plan) -> Iterator[Finding]:
    if plan.get("gateway_port") is None or (state := systemd.state(haproxy.UNIT)) == "ready":
        return
    yield Finding(
        code="gateway_down",
        agent=None,
        text="The gateway is not running, so every agent's port refuses connections.",
        evidence=f"{haproxy.UNIT} is {state or 'unknown to systemd'}",
        remedy=f"Read `journalctl -u {haproxy.UNIT} -n 50`, then run `ansible-playbook site.yml --tags gateway`.",
    )


def _pulls(plan: Plan | None) -> Iterator[Finding]:
    """Yield a finding for each pull that failed or was killed, without a later one that succeeded."""
    users = {agent["model"]: agent["name"] for agent in plan["agents"]} if plan else {}
    for each in pull_job.failed(Path(plan["models_store"] if plan and plan.get("models_store") else _STORE)):
        when = timestamps.local(each.began)
        ended = "it was interrupted, for example by a signal or a reboot"
        evidence = f"pull of {each.model} at {when}: {each.error or ended}"
        found = diagnose(users.get(each.model, ""), [each.error or ""])
        if found.code == UNKNOWN:
            found = of_cause("download_failed", evidence)
        yield found._replace(agent=users.get(each.model), evidence=evidence[:EVIDENCE_CHARACTERS])
