"""Check a host before anything is changed, and report all problems at once in one table."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..agents import ports as agents_ports
from ..catalog.recipes import RECIPES
from ..host import driver, gpu, packages, system
from ..roster import ports as roster_ports
from ..util import process
from ..vllm import formats, kernels
from . import preflight_components, preflight_disk, preflight_host
from .preflight_components import Asked
from .preflight_host import Wanted
from .preflight_row import Row

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.plan import Agent

ENGINE_PYTHON = ((3, 11), (3, 14))  # Requires-Python of vllm 0.32.0: >=3.11,<3.15
# Of the package's modules on the host: pyproject.toml has the same minimum for all its code.
MODULE_PYTHON = (3, 9)
HUB_PYTHON = ((3, 10), (3, 14))  # huggingface-hub 2.4.0 requires >=3.10; the lock does not cover later versions


def check(wanted: Wanted, answer: gpu.Answer, asked: Asked, root: Path = Path("/")) -> list[Row]:
    """Check the host and return all rows of the table, also those without a problem; `answer` is NVML's."""
    facts = driver.inspect(root, answer)
    supported = preflight_host.is_supported(system.inspect(root), wanted)
    found = preflight_host.rows(facts, packages.installed(), wanted, root)
    found += preflight_components.rows(asked, answer, supported=supported, root=root)
    found.append(_module_python(sys.version_info[:2], supported=supported))
    if preflight_disk.builds_engine(wanted):
        found.append(_python(wanted.engine_python, ENGINE_PYTHON))
    elif wanted.image and wanted.required_models:
        found.append(_python(wanted.engine_python, HUB_PYTHON))
    found += _quantizing(wanted)
    numbered = sum(card["number"] is not None for card in facts.gpus)
    return [*found, preflight_disk.row(wanted), _ports(wanted), _agents(wanted, numbered)]


def problems(rows: list[Row]) -> list[str]:
    """Return one sentence for each problem that ends the run, once also if several components have it."""
    return list(dict.fromkeys(sentence for row in rows for sentence in row.problems))


def _quantizing(wanted: Wanted) -> list[Row]:
    """Return the row of models to quantize. The quality gate needs a free card, which is checked before a long pull."""
    asked = preflight_disk.missing_results(wanted)
    busy = None
    if asked and wanted.accelerator == "cuda":
        from ..quantize import pipeline  # imports half of the package, and few hosts quantize

        busy = pipeline.busy_card()
    named = ", ".join(f"{each['model']} with {each['recipe']}" for each in asked)
    return [Row("to quantize", named, [busy] if busy else [])] if asked else []


def _ports(wanted: Wanted) -> Row:
    found = []
    for at, port in _bound(wanted):
        holder = agents_ports.holder(port)
        # A port of another agent's unit becomes free when this run moves that agent.
        if holder and not (holder.unit or "").startswith("roundhouse-"):
            found.append(f"{at}, which {holder} uses: stop that program, or write another port.")
    return Row("ports", ", ".join(str(agent["port"]) for agent in wanted.agents), found)


def _bound(wanted: Wanted) -> list[tuple[str, int]]:
    """Return each port that the run will bind, with the setting that determines it."""
    if wanted.gateway_port is None:
        return [(f"agents[{agent['name']}].port is {agent['port']}", agent["port"]) for agent in wanted.agents]
    bound = [(f"gateway_port is {wanted.gateway_port}", wanted.gateway_port)]
    metrics = roster_ports.metrics_port(wanted.gateway_port)
    bound += [(f"gateway_port is {wanted.gateway_port}, so its metrics port is {metrics}", metrics)]
    for agent, port, whose in roster_ports.claims(wanted.agents, wanted.gateway_port):
        at = f"agents[{agent['name']}].port is {agent['port']}"
        bound.append((at if port == agent["port"] else f"{at}, so {whose} is {port}", port))
    return bound


def _agents(wanted: Wanted, cards: int) -> Row:
    found = []
    for agent in wanted.agents:
        if wanted.accelerator == "cuda" and cards and any(index >= cards for index in agent["gpus"]):
            at = f"agents[{agent['name']}].gpus"
            last = cards - 1
            found.append(f"{at} is {agent['gpus']}, but this host has the GPUs 0 to {last}: write those numbers.")
        if wanted.accelerator == "cpu":
            found += _kernels(agent)
    return Row("agents", ", ".join(agent["name"] for agent in wanted.agents), found)


def _kernels(agent: Agent) -> list[str]:
    """Return a sentence for each format of an agent that the engine cannot run on this CPU."""
    name, recipe = agent.get("quantization") or "", agent.get("quantize") or ""
    forms = {
        f"quantization is {name}": formats.canonical(name),
        f"quantize is {recipe}": RECIPES[recipe].form if recipe in RECIPES else None,
    }
    return [
        f"agents[{agent['name']}].{setting}: {problem}"
        for setting, form in forms.items()
        if (problem := kernels.obstacle(form or ""))
    ]


def _module_python(version: tuple[int, int], *, supported: bool) -> Row:
    """Return the row of the Python that runs Ansible's modules on the host."""
    named, minimum = (".".join(map(str, each)) for each in (version, MODULE_PYTHON))
    problem = (
        f"Ansible uses Python {named} ({sys.executable}) on this host, but Roundhouse needs {minimum} or later. Set "
        "ansible_python_interpreter in the inventory to the path of a later one."
    )
    return Row("Ansible's Python", named, [problem] if supported and version < MODULE_PYTHON else [])


def _python(name: str, span: tuple[tuple[int, int], tuple[int, int]]) -> Row:
    low, high = (".".join(map(str, version)) for version in span)
    wanted = f"name an installed Python from {low} to {high}"
    if not shutil.which(name):
        return Row("Python", "none", [f"engine_python is {name!r}, which is not in the host's PATH: {wanted}."])
    code = "import sys; print(*sys.version_info[:2])"
    major, minor = map(int, process.run([name, "-c", code], check=True).stdout.split())
    if span[0] <= (major, minor) <= span[1]:
        return Row("Python", f"{major}.{minor}")
    problem = f"engine_python is {name!r}, which is Python {major}.{minor} on this host: {wanted}."
    return Row("Python", f"{major}.{minor}", [problem])
