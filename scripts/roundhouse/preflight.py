"""What a host lacks, found all at once and before anything is changed, as one table."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from . import (
    addresses,
    cpu_kernels,
    driver,
    formats,
    nvml,
    packages,
    ports,
    preflight_disk,
    preflight_host,
    quantized,
)
from .preflight_host import Row, Wanted
from .recipes import RECIPES

ENGINE_PYTHON = ((3, 11), (3, 14))  # Requires-Python of vllm 0.32.0: >=3.11,<3.15
HUB_PYTHON = ((3, 10), (3, 14))  # of huggingface-hub 2.4.0: >=3.10; later ones are not locked for

Agent = dict[str, Any]


def look(wanted: Wanted, answer: nvml.Answer) -> list[Row]:
    """Look at the host and return the table's rows, those without a finding too; `answer` is NVML's."""
    seen = driver.see(answer=answer)
    found = preflight_host.rows(seen, packages.installed(), wanted.accelerator)
    if preflight_disk.builds_engine(wanted):
        found.append(_python(wanted.engine_python, ENGINE_PYTHON))
    elif wanted.image and wanted.wishes:
        found.append(_python(wanted.engine_python, HUB_PYTHON))
    found += _quantizing(wanted)
    return [*found, preflight_disk.row(wanted), _ports(wanted), _places(wanted, len(seen.gpus))]


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
        from . import (
            quantize_job,
        )  # with the half of the package: few hosts quantize, and a module compiles what it has

        busy = quantize_job.busy_card()
    named = ", ".join(f"{each['model']} by {each['recipe']}" for each in asked)
    return [Row("to quantize", named, [busy] if busy else [])] if asked else []


def _ports(wanted: Wanted) -> Row:
    found = []
    for at, port in _bound(wanted):
        holder = ports.holder(port)
        # An agent's own unit, or another agent's that has the port until this run moves it, is no stranger.
        if holder and not (holder.unit or "").startswith("roundhouse-"):
            found.append(f"{at}, which {holder} holds: stop that, or write another port.")
    return Row("ports", ", ".join(str(agent["port"]) for agent in wanted.agents), found)


def _bound(wanted: Wanted) -> list[tuple[str, int]]:
    """Return each port that will be listened on, with the setting that it follows from."""
    if wanted.gateway_port is None:
        return [(f"agents[{agent['name']}].port is {agent['port']}", agent["port"]) for agent in wanted.agents]
    bound = [(f"gateway_port is {wanted.gateway_port}", wanted.gateway_port)]
    metrics = addresses.metrics_port(wanted.gateway_port)
    bound += [(f"gateway_port is {wanted.gateway_port}, so that its metrics answer on {metrics}", metrics)]
    for agent, port, whose in addresses.claims(wanted.agents, wanted.gateway_port):
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
    told = {setting: cpu_kernels.obstacle(form) for setting, form in forms.items()}
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
