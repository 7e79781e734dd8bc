#!/usr/bin/env python3
"""Print the subpackages of src/roundhouse, from the top to the bottom, and what each imports, as one Markdown table.

PACKAGES is the rule that tests/unit/test_layers.py enforces; the imports are read from the files.
"""

from __future__ import annotations

import ast
from collections import defaultdict

from roundhouse.paths import PACKAGE

# From the bottom to the top: a subpackage, or a module beside them, imports only from those before it.
PACKAGES = {
    "paths": "locations of the program's own files",
    "errors": "errors: a code, its fields, a text and a remedy",
    "schema": "types of the roster, the plan and the facts of a host",
    "util": "files written atomically, programs, console output, progress, background jobs",
    "vllm": "vLLM: options, weight formats, defaults, HTTP client and metrics",
    "catalog": "known GPUs, models and quantization recipes; a model's `config.json`",
    "host": "the machine: GPU, driver, packages, Docker, systemd, kernel",
    "state": "the switch lock, the journal of a switch, history, the active agents",
    "pins": "locked versions: engine, containers' image, environments",
    "models": "model store: hub, download, verification, lock file, peers",
    "roster": "the roster: rules for each setting, validation",
    "fit": "memory arithmetic: weights, KV cache, overhead, verdict",
    "doctor": "table of causes and remedies; diagnosis of one log",
    "plan": "the plan: choice of model and cards, unit limits, Compose files, deployed plans",
    "migrate": "import of Compose files, env files, Modelfiles and Ollama's store",
    "gateway": "HAProxy, API keys, switches on demand, client configuration",
    "agents": "one agent on a host: start, drain, canary, GPU memory, watchdog, status",
    "quantize": "quantization of a model, and its quality gate",
    "switch": "the switch and the deployment as transactions; rollback, failover, recovery",
    "provision": "decisions and files of the Ansible roles: preflight, inspection, teardown, bundle",
    "checkup": "live examination of host and agents against the causes of `doctor`; that command prints it",
    "bench": "measurement of a running agent",
    "chat": "a conversation with an agent in the terminal, over the OpenAI API",
    "cli": "the commands: arguments and printed answers, one module each",
}


def imports() -> dict[str, set[str]]:
    """Return what each subpackage imports from other subpackages."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, names in imports_by_module().items():
        package = module.partition("/")[0]
        found[package] |= names - {package}
    return found


def imports_by_module() -> dict[str, set[str]]:
    """Return the subpackages that each module imports from, by its path such as cli/main; its own is left out."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).with_suffix("").parts
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                # What the dots mean, and the names behind them: `from ..plan import build`, `from .. import pins`.
                base = place[: len(place) - node.level]
                whole = [*base, *(node.module.split(".") if node.module else [])]
                names |= {whole[0]} if whole else {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE.name}."):
                names.add(str(node.module).split(".")[1])  # of types alone: see tests/unit/test_layers.py
        found["/".join(place)] = names - {place[0]}
    return found


def main() -> None:
    """Print the table."""
    used = imports()
    print("| subpackage | content | imports from |")
    print("|---|---|---|")
    for name in reversed(PACKAGES):
        below = [other for other in reversed(PACKAGES) if other in used[name]]
        print(f"| `{name}` | {PACKAGES[name]} | {', '.join(below) or '-'} |")


if __name__ == "__main__":
    main()
