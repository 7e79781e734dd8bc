"""Compare the running engine with the plan: by its answers, and by the files deployed since it started."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .. import pins
from ..host.systemd import Unit
from ..state import started_config
from ..vllm.client import ServedModel

if TYPE_CHECKING:
    from roundhouse.schema.plan import Agent, Plan


def drift(plan: Plan, agent: Agent, unit: Unit, served: list[ServedModel], version: str) -> list[str]:
    """Return a sentence for each difference; `served` and `version` are the engine's own answers."""
    found = []
    card: Mapping[str, object] = next((each for each in served if each.get("id") == agent["name"]), {})
    if not card:
        names = ", ".join(str(each.get("id")) for each in served)
        found.append(f"{names or 'no agent'} is active, but {agent['name']} is planned")
    for name, planned in (("max_model_len", agent["max_model_len"]), ("root", agent["model_path"])):
        running = card.get(name, planned)
        if running != planned:
            found.append(f"its {'model' if name == 'root' else name} is {running}, but {planned} is planned")
    planned_version = _planned_version(plan)
    if planned_version and not version.startswith(planned_version):
        found.append(f"its version is {version}, but {planned_version} is planned")
    if started_config.digest(agent) is None:
        gone = f"its configuration {agent['config_path']} is missing, so it cannot start again"
        found.append(f"{gone}: `ansible-playbook site.yml` writes it")
    elif is_outdated(plan, agent, unit):
        found.append("it runs with an earlier deployment: `roundhouse resume` restarts it")
    return found


def _planned_version(plan: Plan) -> str | None:
    """Return the release that the plan names: by the engine's image, else by its folder; None if neither has one."""
    reference = str(plan.get("image") or "")
    if reference and not reference.startswith(f"{pins.OWN}:{pins.BUILD}-"):
        named = pins.tag_of(reference).removeprefix("v")
    else:
        named = str(plan.get("engine_path", "")).rpartition("/")[2]
    version = named.partition("-")[0]
    return version if version[:1].isdigit() else None


def is_outdated(plan: Plan, agent: Agent, unit: Unit) -> bool:
    """Return whether the running engine differs from the plan in a way that only a restart changes.

    An engine whose configuration is missing does not count, because it could not start again. A new agent in the roster
    changes every unit file (Conflicts=), which systemd reads without a restart.
    """
    if unit.state != "ready" or unit.main_pid is None:
        return False
    process = Path(f"/proc/{unit.main_pid}")
    try:
        command = (process / "cmdline").read_text()
        running = dict(line.partition("=")[::2] for line in (process / "environ").read_text().split("\0"))
    except OSError:  # it has ended meanwhile, or this process is not root
        return False
    now = started_config.digest(agent)
    if now is None:
        return False
    then = started_config.recorded(agent, unit.invocation)
    if then != now and (then is not None or _was_written_later(agent, unit)):
        return True
    # A container's command and environment are in its Compose file.
    return agent.get("compose_path") is None and (
        plan["engine_path"] not in command
        or any(running.get(name) != value for name, value in agent["environment"].items())
    )


def _was_written_later(agent: Agent, unit: Unit) -> bool:
    """Return whether the configuration is newer than an engine that an earlier version started, by the clock."""
    started_at = time.time() - (time.monotonic() - unit.started_monotonic_usec / 1e6)
    try:
        return max(file.stat().st_mtime for file in started_config.files(agent)) > started_at
    except OSError:
        return False
