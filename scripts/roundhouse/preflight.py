"""What a host lacks, found all at once and before anything is changed, as one table."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from . import driver, nvml, packages, ports, preflight_host
from .preflight_host import Row

# Disk that the engine's environment takes: the CPU's was measured (2.5 GB with bytecode), the CUDA
# one is larger by the CUDA libraries that its wheels bring (an upper bound, not measured here).
ENGINE_DISK_GIB = {"cpu": 4, "cuda": 16}
ENGINE_PYTHON = ((3, 11), (3, 14))  # Requires-Python of vllm 0.32.0: >=3.11,<3.15

Agent = dict[str, Any]


class Wanted(NamedTuple):
    """The plan's agents, and the settings of the host."""

    agents: list[Agent]
    accelerator: str
    engine_path: str
    engine_python: str
    models_store: str


def look(wanted: Wanted, pynvml: Any = None) -> list[Row]:
    """Look at the host and return the table's rows, those without a finding too."""
    seen = driver.see(answer=nvml.read(pynvml))
    found = preflight_host.rows(seen, packages.installed(), wanted.accelerator)
    if not Path(wanted.engine_path).exists():
        found.append(_python(wanted.engine_python))
    return [*found, _disk(wanted), _ports(wanted.agents), _places(wanted, len(seen.gpus))]


def table(rows: list[Row]) -> list[str]:
    """Return the table as lines: what was found, and below it what is wrong."""
    width = max(len(row.part) for row in rows)
    lines = []
    for row in rows:
        lines.append(f"{row.part:{width}}  {row.found}")
        lines += [f"{'':{width}}  {mark} {said}" for mark, said in _marked(row)]
    return lines


def problems(rows: list[Row]) -> list[str]:
    """Return one sentence for each thing that has to be mended first."""
    return [sentence for row in rows for sentence in row.problems]


def _marked(row: Row) -> list[tuple[str, str]]:
    return [("!", said) for said in row.problems] + [("-", said) for said in row.warnings]


def _ports(agents: list[Agent]) -> Row:
    found = []
    for agent in agents:
        holder = ports.holder(agent["port"])
        # An agent's own unit, or another agent's that has the port until this run moves it, is no stranger.
        if holder and not (holder.unit or "").startswith("roundhouse-"):
            at = f"agents[{agent['name']}].port"
            found.append(f"{at} is {agent['port']}, which {holder} holds: stop that, or write another port.")
    return Row("ports", ", ".join(str(agent["port"]) for agent in agents), found)


def _places(wanted: Wanted, cards: int) -> Row:
    found = []
    for agent in wanted.agents:
        if wanted.accelerator == "cuda" and cards and any(index >= cards for index in agent["gpus"]):
            at = f"agents[{agent['name']}].gpus"
            found.append(f"{at} is {agent['gpus']}, and this host's GPUs are numbered 0 to {cards - 1}: write those.")
    return Row("agents", ", ".join(agent["name"] for agent in wanted.agents), found)


def _disk(wanted: Wanted) -> Row:
    """Compare what is to be brought with what is free, by disk: the engine and the models may lie on the same."""
    needed: dict[Path, list[tuple[str, float]]] = {}
    free: dict[Path, float] = {}
    for what, path, gib in _brought(wanted):
        folder, free_gib = preflight_host.free_gib(path)
        free[folder] = free_gib
        needed.setdefault(folder, []).append((what, gib))
    by_disk: dict[int, list[Path]] = {}
    for folder in needed:
        by_disk.setdefault(folder.stat().st_dev, []).append(folder)
    found = []
    for folders in by_disk.values():
        parts = [part for folder in folders for part in needed[folder]]
        total = sum(gib for _, gib in parts)
        if total > free[folders[0]]:
            named = " and ".join(f"{what} up to {gib:.0f} GiB" for what, gib in parts)
            found.append(f"{folders[0]} has {free[folders[0]]:.1f} GiB free, and {named} are to come: make room there.")
    store, left = preflight_host.free_gib(Path(wanted.models_store))
    return Row("disk", f"{left:.1f} GiB free for models ({store})", found)


def _brought(wanted: Wanted) -> list[tuple[str, Path, float]]:
    """Return what this run brings: its name, where to, and GiB. A model whose size is not known yet is not among it."""
    found = []
    if not Path(wanted.engine_path).exists():
        found.append(("the engine", Path(wanted.engine_path), float(ENGINE_DISK_GIB[wanted.accelerator])))
    models = {}
    for agent in wanted.agents:
        per_card = (agent.get("fit") or {}).get("weights_gib_per_rank")
        if per_card and agent["model_path"].startswith(wanted.models_store) and not Path(agent["model_path"]).exists():
            models[agent["model_path"]] = (agent["model"], per_card * len(agent["gpus"]))
    return found + [(name, Path(path), gib) for path, (name, gib) in models.items()]


def _python(name: str) -> Row:
    low, high = (".".join(map(str, version)) for version in ENGINE_PYTHON)
    wanted = f"name a Python from {low} to {high} that the host has"
    if not shutil.which(name):
        return Row("Python", "none", [f"engine_python is {name!r}, which is not on the host's PATH: {wanted}."])
    code = "import sys; print(*sys.version_info[:2])"
    said = subprocess.run([name, "-c", code], capture_output=True, text=True, check=True).stdout
    major, minor = map(int, said.split())
    if ENGINE_PYTHON[0] <= (major, minor) <= ENGINE_PYTHON[1]:
        return Row("Python", f"{major}.{minor}")
    problem = f"engine_python is {name!r}, which is Python {major}.{minor} on this host: {wanted}."
    return Row("Python", f"{major}.{minor}", [problem])
