"""What the recipes and the gate really did on the host, in one run of several minutes.

The run is kept in the lab's volume under a key of all that went into it, as the lab's images are: while
recipes, gate, locks, training and these tests are the same, its record is read instead of made again. A record
that fails a test is not kept: what is red is run again.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
from roundhouse import lock

NAME = "roundhouse-quantise"
KEPT = "/opt/roundhouse/quantise/lab"
BASE, STORE, CHECKOUT = f"{KEPT}/base", "/srv/quantise", "/opt/checkout"
ENGINE = lock.engine_path("cpu", "python3.11")
INPUTS = (
    *("recipes", "quantise", "quantise_check", "quantise_work", "quantise_cli", "judge", "gate", "texts"),
    *("engine", "flags", "manifest", "store", "model_files"),
)
# Rows of the weights of every second layer, in another order: it loads and serves, and says nothing.
SHUFFLE = """
import sys, torch
from safetensors.torch import load_file, save_file
path = sys.argv[1]
held = load_file(path)
for name in [name for name in held if name.endswith("down_proj.weight")]:
    order = torch.randperm(len(held[name]), generator=torch.Generator().manual_seed(0))
    held[name] = held[name].view(torch.uint8)[order].view(held[name].dtype).contiguous()
save_file(held, path, {"format": "pt"})
"""


class Workshop:
    """The host, and the command on it."""

    def __init__(self) -> None:
        self.host = Host.get_host(f"docker://{NAME}")

    def command(self, recipe: str, *words: str) -> str:
        """Return the command line of a quantisation small enough for a test."""
        own = f"--store {STORE} --engine {ENGINE} --accelerator cpu --samples 16 --group-size 64 {' '.join(words)}"
        return f"python3.11 {CHECKOUT}/scripts/switch.py quantise {BASE} {recipe} {own}"

    def quantise(self, recipe: str, *words: str) -> dict:
        """Run it to its end; return its JSON object with rc and seconds."""
        begun = time.monotonic()
        done = self.host.run(self.command(recipe, "--json", *words))
        assert done.stdout, done.stderr
        return {**json.loads(done.stdout), "rc": done.rc, "seconds": time.monotonic() - begun}

    def interrupted(self, recipe: str) -> dict:
        """End it when the gate begins; return what is left: the work, and no engine."""
        line = self.command(recipe)
        script = (
            f'{line} 2>/tmp/said & pid=$!; timeout 300 sh -c \'until grep -q "the base on the engine" /tmp/said; '
            "do sleep 0.2; done'; kill -TERM $pid; wait $pid; echo $?"
        )
        rc = int(self.host.check_output(script).split()[-1])
        return {"rc": rc, "engines": self.host.run("pgrep -f '[v]llm serve'").stdout, "store": self.listing()}

    def listing(self) -> str:
        """Return what lies in the store, two levels deep."""
        return self.host.run(f"cd {STORE} && find . -mindepth 3 -maxdepth 3 -not -name .lock").stdout

    def run(self) -> dict:
        """Do everything once and return the record."""
        found: dict = {"refused_group": self.quantise("gptq", "--group-size", "128")}
        found["interrupted"] = self.interrupted("fp8")
        work = f"{STORE}/quantised/base-fp8/work.partial/model"
        self.host.check_output(f"printf %s {_quoted(SHUFFLE)} >/tmp/shuffle.py")
        self.host.check_output(f"{ENGINE}/bin/python /tmp/shuffle.py {work}/model.safetensors")
        found["sabotaged"] = self.quantise("fp8") | {"left": self.listing()}
        self.interrupted("fp8")
        self.host.check_output(f"cp /srv/lab/models/architect/* {work}/")
        found["other_vocabulary"] = self.quantise("fp8") | {"left": self.listing()}
        for recipe in ("fp8", "int8", "gptq", "awq"):
            made = self.quantise(recipe)
            verified = self.host.run(f"python3.11 {CHECKOUT}/scripts/switch.py verify --store {STORE} --json")
            found[recipe] = made | {"verified": verified.rc, "listing": self.listing()}
            found[recipe]["card"] = self.host.check_output(f"cat {made['path']}/README.md") if made["ok"] else None
        return found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _key() -> str:
    files = [ROOT / f"scripts/roundhouse/{name}.py" for name in INPUTS]
    files += [ROOT / "lab/models.py", ROOT / "lab/quantise_base.py", Path(__file__)]
    files += [ROOT / f"requirements/{name}-cpu.txt" for name in ("engine", "quantise")]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:12]


def pytest_sessionfinish(exitstatus):
    """Keep no record that a test refuses."""
    if exitstatus:
        Workshop().host.run(f"rm -f {KEPT}/{_key()}.json")


@pytest.fixture(scope="session")
def evidence():
    """Return the record of the run with these inputs."""
    workshop = Workshop()
    host, record = workshop.host, f"{KEPT}/{_key()}.json"
    if not host.file(record).exists:
        host.check_output(f"rm -rf {CHECKOUT} {STORE} && mkdir -p {CHECKOUT} {KEPT}")
        for part in ("scripts", "lab"):
            subprocess.run(["docker", "cp", str(ROOT / part), f"{NAME}:{CHECKOUT}/"], check=True)
        host.check_output(f"rm -rf {BASE} && {ENGINE}/bin/python {CHECKOUT}/lab/quantise_base.py {BASE}")
        found = json.dumps(workshop.run())
        host.check_output(f"printf %s {_quoted(found)} >{record}.new && mv {record}.new {record}")
    return json.loads(host.file(record).content_string)
