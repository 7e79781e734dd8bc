"""Run the recipes and the gate on the host once, in several minutes, and keep the record for the tests.

The record is kept in the lab's volume under a hash of all inputs, and is reused while the inputs are unchanged. A
record that fails a test is deleted, so that the next run is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from testinfra.host import Host

from roundhouse import pins
from roundhouse.models import store
from roundhouse.paths import CHECKOUT as ROOT

NAME = "roundhouse-quantize"
KEPT = "/opt/roundhouse/quantize/lab"
BASE, STORE, CHECKOUT = f"{KEPT}/base", "/srv/quantize", "/opt/checkout"
PACKAGE = f"PYTHONPATH={CHECKOUT}/src"  # programs of lab/ import the package
ENGINE = pins.engine_path("cpu", "python3.11")
SHORT = "/tmp/short.txt"
WORK = f"{STORE}/quantized/base-fp8/work.partial"
ASIDE = "/tmp/work"  # A copy of the work of an interrupted run.
# An empty path would make Ansible use this checkout as an inventory and run every program in it.
INVENTORY = str(Path(os.environ["MOLECULE_INVENTORY_FILE"] or "/unset").resolve(strict=True))
HUB_PORT = 8900
AGENT = {
    **{"name": "dev", "port": 8001, "max_model_len": 2048, "gpu_memory_utilization": 0.9, "max_num_seqs": 8},
    **{"temperature": 0.3, "top_p": 0.95, "enforce_eager": True},
}
# Shuffle the rows of the weights of every second layer: the model loads and serves, and answers nonsense.
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


class QuantizeHost:
    """The host and its command."""

    def __init__(self, folder: Path | None = None) -> None:
        self.host = Host.get_host(f"docker://{NAME}")
        self.folder = folder or Path("/unset")

    def command(self, recipe: str, *words: str, options: str = "--samples 16 --group-size 64") -> str:
        """Return the command line of a small quantization; with empty options it is that of the roster."""
        own = f"--store {STORE} --engine {ENGINE} --accelerator cpu {options} {' '.join(words)}"
        return f"python3.11 {CHECKOUT}/scripts/switch.py quantize {BASE} {recipe} {own}"

    def quantize(self, recipe: str, *words: str, **how: str) -> dict:
        """Run a quantization; return its JSON object with rc, the store's content, and whether the work was begun.

        The repository's lock is taken before llm-compressor and the engine start, and its file remains.
        """
        done = self.host.run(self.command(recipe, "--json", *words, **how))
        assert done.stdout, done.stderr
        begun = self.host.file(f"{STORE}/quantized/base-{recipe}/{store.LOCK}").exists
        return {**json.loads(done.stdout), "rc": done.rc, "left": self.listing(), "begun": begun}

    def interrupted(self, recipe: str, **how: str) -> dict:
        """Interrupt a quantization when the gate begins; return what remains: the work, but no engine."""
        line = self.command(recipe, **how)
        script = (
            f'{line} 2>/tmp/said & pid=$!; timeout 300 sh -c \'until grep -q "scoring the base model" /tmp/said; '
            "do sleep 0.2; done'; kill -TERM $pid; wait $pid; echo $?"
        )
        rc = int(self.host.check_output(script).split()[-1])
        return {"rc": rc, "engines": self.host.run("pgrep -f '[r]oundhouse-judge-'").stdout, "store": self.listing()}

    def listing(self) -> str:
        """Return the store's content, three levels deep, without the caches of the quality gate."""
        own = "-not -path './.scores/*' -not -name .lock"
        return self.host.run(f"cd {STORE} && find . -mindepth 3 -maxdepth 3 {own}").stdout

    def site(self, model: str) -> dict:
        """Run site.yml with an agent with quantize: fp8; return its outcome and the served model."""
        begun, lock = time.monotonic(), self.folder / "models.lock"
        wanted = {"agents": [{**AGENT, "models": [{"model": model, "quantize": "fp8"}]}], "models_store": STORE}
        wanted |= {"models_lock": str(lock), "models_environment": {"HF_ENDPOINT": f"http://127.0.0.1:{HUB_PORT}"}}
        command = ["ansible-playbook", "--inventory", INVENTORY, "--extra-vars", json.dumps(wanted), "site.yml"]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        locked = json.loads(lock.read_text())["models"] if lock.exists() else {}
        return {
            **{"rc": done.returncode, "output": done.stdout + done.stderr, "seconds": time.monotonic() - begun},
            **{"status": json.loads(self.host.run("roundhouse --json status").stdout or "{}"), "locked": locked},
            **{"plan": json.loads(self.host.run("cat /etc/roundhouse/plan.json").stdout or "{}")},
        }

    def judged(self, path: str) -> dict:
        """Return the facts of an admitted result: its card, its format, and whether its bytes are unchanged."""
        read = self.host.check_output
        return {
            "card": read(f"cat {path}/README.md"),
            "config": json.loads(read(f"cat {path}/config.json")),
            "verified": self.host.run(f"python3.11 {CHECKOUT}/scripts/switch.py verify --store {STORE} --json").rc,
            "listing": self.listing(),
        }

    def by_roster(self) -> dict:
        """Run a roster with fp8 for the hub's model, again unchanged, and for a folder with shuffled weights."""
        hub = f"python3.11 {CHECKOUT}/lab/hub.py {KEPT} {HUB_PORT}"
        self.host.check_output(f"systemd-run --unit lab-hub --setenv {PACKAGE} {hub}")
        self.host.check_output(f"timeout 20 sh -c 'until ss -ltn | grep -q :{HUB_PORT}; do sleep 0.1; done'")
        first = self.site("lab/base")
        self.host.check_output("systemctl stop lab-hub")
        if first["rc"]:
            return {"first": first}
        found = {"first": first | self.judged(first["plan"]["agents"][0]["model_path"])}
        found["again"] = self.site("lab/base")
        # With the roster's options, because other options make another result.
        found["interrupted"] = self.interrupted("fp8", options="")
        self.host.check_output(f"rm -rf {ASIDE} && cp -a {WORK} {ASIDE}")
        self.host.check_output(f"printf %s {_quoted(SHUFFLE)} >/tmp/shuffle.py")
        self.host.check_output(f"{ENGINE}/bin/python /tmp/shuffle.py {WORK}/model/model.safetensors")
        found["sabotaged"] = self.site(BASE) | {"left": self.listing()}
        self.host.check_output("systemctl stop roundhouse-dev")
        return found

    def run(self) -> dict:
        """Run everything once and return the record."""
        # The machine's CPU decides which kernels the engine has.
        found: dict = {"avx512": self.host.run("grep -qw avx512f /proc/cpuinfo").rc == 0}
        found |= {"refused_group": self.quantize("gptq", "--group-size", "128")}
        self.host.check_output(f"seq -f 'The number of this sentence is %g.' 60 >{SHORT}")
        found["short_texts"] = self.quantize("int8", "--calibration", SHORT)
        found["roster"] = self.by_roster()
        self.host.check_output(f"cp -a {ASIDE} {WORK} && cp /srv/lab/models/architect/* {WORK}/model/")
        found["other_vocabulary"] = self.quantize("fp8", options="")
        for recipe in ("int8", "gptq", "awq", "auto-round"):
            made = self.quantize(recipe)
            found[recipe] = made | (self.judged(made["path"]) if made["ok"] else {})
        return found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _key() -> str:
    """Return a hash of all inputs."""
    folders = ("scripts", "src", "roles", "playbooks", "plugins", "lab", "group_vars", "inventory", "requirements")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    files = [path for path in (*files, ROOT / "site.yml", Path(__file__)) if "__pycache__" not in path.parts]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:12]


def pytest_sessionfinish(exitstatus):
    """Delete the record if a test failed."""
    if exitstatus:
        QuantizeHost().host.run(f"rm -f {KEPT}/{_key()}.json")


@pytest.fixture(scope="session")
def evidence(tmp_path_factory):
    """Return the record of the run with these inputs."""
    quantize_host = QuantizeHost(tmp_path_factory.mktemp("roster"))
    host, record = quantize_host.host, f"{KEPT}/{_key()}.json"
    if not host.file(record).exists:
        host.check_output(f"rm -rf {CHECKOUT} {STORE} && mkdir -p {CHECKOUT} {KEPT}")
        for part in ("src", "scripts", "lab"):
            subprocess.run(["docker", "cp", str(ROOT / part), f"{NAME}:{CHECKOUT}/"], check=True)
        host.check_output(f"{PACKAGE} {ENGINE}/bin/python {CHECKOUT}/lab/quantize_base.py {BASE}")
        found = json.dumps(quantize_host.run())
        host.check_output(f"printf %s {_quoted(found)} >{record}.new && mv {record}.new {record}")
    return json.loads(host.file(record).content_string)
