#!/usr/bin/env python3
"""Record a run of site.yml for the screens of the documents: `eval "$(lab/env.py)"`, then `docs/record_setup.py`.

The program starts a stand-in host that has only the engine of the lab, and removes it at the end. The host pulls its
models from a hub on this machine, over a slowed line. The run is that of scripts/setup_vllm.py with all its parts.
docs/recordings/setup.jsonl then has one object in each line: the origin with the names of the stages, the events, and
the end. docs/screens.py shows it with the code of the program, so a document shows how today's program displays a real
run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import docker

from roundhouse.paths import CHECKOUT as ROOT

sys.path.insert(0, str(ROOT / "tests/unit"))
from faulty_hub import FaultyHub

from roundhouse.cli import setup, setup_run
from roundhouse.cli.setup_run import Event

HOST = "roundhouse-setup"
FILE = ROOT / "docs/recordings/setup.jsonl"
WORDS = ("--install-dependencies", "--download-models", "--setup-docker")
LINE_BYTES_PER_SECOND = 100_000  # of each file that is on its way


def main() -> int:
    """Record, write the file, and return 0 when the run went well."""
    lab = {"lab_hosts": [{"name": HOST, "suite": "bookworm"}]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _play("lab/prepare.yml", {})
        _play("lab/create.yml", lab)
        try:
            container = docker.from_env().containers.get(HOST)
            subprocess.run(["docker", "cp", "--quiet", f"{HOST}:/srv/lab/models", str(folder / "hub")], check=True)
            (network,) = container.attrs["NetworkSettings"]["Networks"].values()
            with FaultyHub(folder / "hub", network["Gateway"]) as hub:
                hub.bytes_per_second = LINE_BYTES_PER_SECOND
                lines = _recorded(_inventory(folder, hub.url))
        finally:
            _play("lab/destroy.yml", lab)
    FILE.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return 0 if lines[-1]["status"] == "successful" else 1


def _play(playbook: str, variables: dict[str, Any]) -> None:
    words = ["ansible-playbook", "--inventory", "inventory/lab", playbook, "--extra-vars", json.dumps(variables)]
    subprocess.run(words, cwd=ROOT, check=True)


def _inventory(folder: Path, hub: str) -> Path:
    """Write the inventory of the host: the lab's own, models from the hub, what it locks in the folder."""
    made = folder / "inventory"
    shutil.copytree(ROOT / "inventory/lab", made, symlinks=False)
    own = {"lab_models": "lab", "models_environment": {"HF_ENDPOINT": hub}}
    (made / "hosts.yml").write_text(json.dumps({"gpu_hosts": {"hosts": {HOST: own}}}))
    return made


def _recorded(inventory: Path) -> list[dict[str, Any]]:
    """Run site.yml on the host; return the lines of the recording."""
    args = setup.parser().parse_args(WORDS)
    wanted = setup_run.Wanted(setup.tags(args), str(inventory), ())
    what = f"setup_vllm.py {' '.join(WORDS)}; a stand-in host of Debian 12, a real engine, models from a slow hub"
    made = {"on": time.strftime("%Y-%m-%d"), "by": "docs/record_setup.py", "what": what}
    stages = setup_run.stages(wanted)
    events: list[Event] = []
    begun = time.time()
    status = setup_run.run(wanted, events.append)
    told = [each._replace(at=round(each.at - begun, 1))._asdict() for each in events]
    return [made | {"stages": stages}, *told, {"ended": round(time.time() - begun, 1), "status": status}]


if __name__ == "__main__":
    raise SystemExit(main())
