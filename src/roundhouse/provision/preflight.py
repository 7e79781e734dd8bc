"""The row of preflight's table about the disk: what this run brings against what is free, before anything is changed.

A model that is locked counts byte for byte, less what is there; another by the fit's estimate, and where there is none
by the pull itself, which asks the hub and looks again before its first byte.

What a host lacks, found all at once and before anything is changed, as one table.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from ..agents import ports as agents_ports
from ..catalog.recipes import RECIPES
from ..host import docker, driver, gpu, packages
from ..models import manifest, quantized, store, verify
from ..plan import deployed
from ..roster import ports as roster_ports
from ..util.progress import GIB
from ..vllm import formats, kernels
from . import preflight_host
from .preflight_host import Row, Wanted

# Disk that the engine's environment takes, or that of quantizing, which is smaller: the CPU's was measured (2.5 GB with
# bytecode), the CUDA one is larger by the CUDA libraries that its wheels bring (an upper bound, not measured here).
ENGINE_DISK_GIB = {"cpu": 4, "cuda": 16}
# The same in an image, packed and unpacked at once while it is pulled, with CUDA itself: an upper bound, not measured.
IMAGE_DISK_GIB = {"cpu": 12, "cuda": 40}


class Brought(NamedTuple):
    """One thing that is to come: its name in the sentence, the setting's path, and how much disk it takes."""

    what: str
    place: str
    size: int


def builds_engine(wanted: Wanted) -> bool:
    """Return whether this run makes the engine's environment: to serve, or to judge what is quantized."""
    asked = not wanted.image or any(not Path(each["path"]).is_dir() for each in quantized.wishes(wanted.agents))
    return asked and not Path(wanted.engine_path).exists()


def row(wanted: Wanted) -> Row:
    """Compare by disk: the engine and the models may lie on the same one."""
    by_disk: dict[int, list[Brought]] = {}
    for each in _brought(wanted):
        by_disk.setdefault(store.standing(Path(each.place)).stat().st_dev, []).append(each)
    found = []
    for parts in by_disk.values():
        places = list(dict.fromkeys(part.place for part in parts))
        named = places[0] if len(places) == 1 else f"The disk of {' and '.join(places)}"
        needs = {part.what: part.size for part in parts}
        free = store.free_bytes(Path(places[0]))
        if said := store.shortage(named, free, needs, models=wanted.models_store in places):
            found.append(said)
    left = store.free_bytes(Path(wanted.models_store)) / GIB
    return Row("disk", f"{left:.1f} GiB free for models ({wanted.models_store})", found)


def _brought(wanted: Wanted) -> list[Brought]:
    found = []
    if wanted.image and not docker.has_image(wanted.image):
        size = IMAGE_DISK_GIB[wanted.accelerator] * GIB
        found.append(Brought("the engine's image up to", docker.data_root(), size))
    if builds_engine(wanted):
        size = ENGINE_DISK_GIB[wanted.accelerator] * GIB
        found.append(Brought("the engine up to", wanted.engine_path, size))
    results = [each for each in quantized.wishes(wanted.agents) if not Path(each["path"]).is_dir()]
    if results and not Path(wanted.quantize_path).exists():
        size = ENGINE_DISK_GIB[wanted.accelerator] * GIB
        found.append(Brought("the environment of quantizing up to", wanted.quantize_path, size))
    estimates = _estimates(wanted.agents)
    found += [
        Brought(f"{each['model']} by {each['recipe']} up to", wanted.models_store, estimates[each["path"]])
        for each in results
        if each["path"] in estimates
    ]
    for wish in verify.needed(wanted.wishes, results):
        name, size = f"{wish['model']} up to", estimates.get(deployed.path_of(wish, wanted.models_store), 0)
        if wish["files"] is not None:
            from ..models import pull_job  # it has the hub's client

            name, files = f"{wish['model']} at {wish['revision'][:8]}", manifest.from_json(wish["files"])
            size = pull_job.lacking_bytes(Path(wanted.models_store), wish["model"], wish["revision"], files)
        if size:
            found.append(Brought(name, wanted.models_store, size))
    return found


def _estimates(agents: list[dict[str, Any]]) -> dict[str, int]:
    """Return how large the fit takes the weights of a folder to be, for the models that are not there."""
    found = {}
    for agent in agents:
        per_card = (agent.get("fit") or {}).get("weights_gib_per_rank")
        if per_card and not Path(agent["model_path"]).exists():
            found[agent["model_path"]] = round(per_card * len(agent["gpus"]) * GIB)
    return found


ENGINE_PYTHON = ((3, 11), (3, 14))  # Requires-Python of vllm 0.32.0: >=3.11,<3.15
HUB_PYTHON = ((3, 10), (3, 14))  # of huggingface-hub 2.4.0: >=3.10; later ones are not locked for

Agent = dict[str, Any]


def look(wanted: Wanted, answer: gpu.Answer) -> list[Row]:
    """Look at the host and return the table's rows, those without a finding too; `answer` is NVML's."""
    seen = driver.see(answer=answer)
    found = preflight_host.rows(seen, packages.installed(), wanted.accelerator)
    if builds_engine(wanted):
        found.append(_python(wanted.engine_python, ENGINE_PYTHON))
    elif wanted.image and wanted.wishes:
        found.append(_python(wanted.engine_python, HUB_PYTHON))
    found += _quantizing(wanted)
    return [*found, row(wanted), _ports(wanted), _places(wanted, len(seen.gpus))]


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


def _quantizing(wanted: Wanted) -> list[Row]:
    """Return what this run quantizes; on a card its gate needs that free, which is better known before a long pull."""
    asked = [each for each in quantized.wishes(wanted.agents) if not Path(each["path"]).is_dir()]
    busy = None
    if asked and wanted.accelerator == "cuda":
        from ..quantize import (
            pipeline,  # with the half of the package: few hosts quantize, and a module compiles what it has
        )

        busy = pipeline.busy_card()
    named = ", ".join(f"{each['model']} by {each['recipe']}" for each in asked)
    return [Row("to quantize", named, [busy] if busy else [])] if asked else []


def _ports(wanted: Wanted) -> Row:
    found = []
    for at, port in _bound(wanted):
        holder = agents_ports.holder(port)
        # An agent's own unit, or another agent's that has the port until this run moves it, is no stranger.
        if holder and not (holder.unit or "").startswith("roundhouse-"):
            found.append(f"{at}, which {holder} holds: stop that, or write another port.")
    return Row("ports", ", ".join(str(agent["port"]) for agent in wanted.agents), found)


def _bound(wanted: Wanted) -> list[tuple[str, int]]:
    """Return each port that will be listened on, with the setting that it follows from."""
    if wanted.gateway_port is None:
        return [(f"agents[{agent['name']}].port is {agent['port']}", agent["port"]) for agent in wanted.agents]
    bound = [(f"gateway_port is {wanted.gateway_port}", wanted.gateway_port)]
    metrics = roster_ports.metrics_port(wanted.gateway_port)
    bound += [(f"gateway_port is {wanted.gateway_port}, so that its metrics answer on {metrics}", metrics)]
    for agent, port, whose in roster_ports.claims(wanted.agents, wanted.gateway_port):
        at = f"agents[{agent['name']}].port is {agent['port']}"
        bound.append((at if port == agent["port"] else f"{at}, which makes {port} {whose}", port))
    return bound


def _places(wanted: Wanted, cards: int) -> Row:
    found = []
    for agent in wanted.agents:
        if wanted.accelerator == "cuda" and cards and any(index >= cards for index in agent["gpus"]):
            at = f"agents[{agent['name']}].gpus"
            found.append(f"{at} is {agent['gpus']}, and this host's GPUs are numbered 0 to {cards - 1}: write those.")
        if wanted.accelerator == "cpu":
            found += _kernels(agent)
    return Row("agents", ", ".join(agent["name"] for agent in wanted.agents), found)


def _kernels(agent: Agent) -> list[str]:
    """Return what the engine on this CPU cannot compute of an agent's model."""
    words = {"quantization": agent.get("quantization") or "", "quantize": agent.get("quantize") or ""}
    forms = {"quantization": formats.canonical(words["quantization"]) or ""}
    forms["quantize"] = RECIPES[words["quantize"]].form if words["quantize"] else ""
    told = {setting: kernels.obstacle(form) for setting, form in forms.items()}
    return [f"agents[{agent['name']}].{setting} is {words[setting]}: {said}" for setting, said in told.items() if said]


def _python(name: str, span: tuple[tuple[int, int], tuple[int, int]]) -> Row:
    low, high = (".".join(map(str, version)) for version in span)
    wanted = f"name a Python from {low} to {high} that the host has"
    if not shutil.which(name):
        return Row("Python", "none", [f"engine_python is {name!r}, which is not on the host's PATH: {wanted}."])
    code = "import sys; print(*sys.version_info[:2])"
    said = subprocess.run([name, "-c", code], capture_output=True, text=True, check=True).stdout
    major, minor = map(int, said.split())
    if span[0] <= (major, minor) <= span[1]:
        return Row("Python", f"{major}.{minor}")
    problem = f"engine_python is {name!r}, which is Python {major}.{minor} on this host: {wanted}."
    return Row("Python", f"{major}.{minor}", [problem])
