"""The fixed facts for screen_host.py: a card, a store of models, keys, a measurement, and a server that streams."""

import hashlib
import json
import struct

from test_bench import result, row
from test_chat_terminal import Api

from roundhouse.bench import run
from roundhouse.models.manifest import File, Manifest
from roundhouse.provision.preflight_row import Row
from roundhouse.util.units import GIB, MIB

COMMITS = tuple(digit * 40 for digit in "4b8")
SIZES = (int(9.36 * GIB), int(9.36 * GIB), int(5.2 * GIB))
# Of the models that a command reads.
SMALL = (64 * MIB, 64 * MIB, 40 * MIB)
VERIFIED_AT = "2026-11-20T08:10:02Z"
# A word of the first answer reaches the margin of 80 columns, and the code block is not wrapped.
ANSWERS = {
    "What is a KV cache?": (
        "A KV cache keeps the keys and the values of earlier tokens, so that the engine computes only the newest "
        "token. Its size limits the number of requests that run in parallel."
    ),
    "Show how to look at it.": "Run this command:\n```\nroundhouse status --json\n```",
}
GPU = {
    "address": "0000:01:00.0",
    "device_id": "2d04",
    "name": "NVIDIA GeForce RTX 5060 Ti",
    "memory_gib": 15.9,
    "used_gib": 13.5,
    "number": 0,
    "uuid": "GPU-5f1c",
    "driver": "nvidia",
    "architecture": "blackwell",
    "compute_capability": [12, 0],
    "error": None,
    "mig": False,
    "unified": False,
    "display_active": True,
    "processes": [],
}
FACTS = {"gpus": [GPU], "driver_version": "580.150.01", "nvml": {"driver_version": "580.150.01", "error": None}}
LIVE = {"use_percent": 97, "temperature_celsius": 61, "power_watts": 142.4, "power_limit_watts": 180.0}

# The rows of a host that preflight accepts. test_preflight_hosts.py compares them with those of a described host.
ROWS = (
    Row("system", "Ubuntu 24.04.3 LTS, x86_64"),
    Row("kernel", "6.8.0-87-generic"),
    Row("memory", "62.7 GiB, 58.1 GiB available"),
    Row("cards", "10de:2d04 NVIDIA GeForce RTX 5060 Ti, 15.9 GiB"),
    Row("Secure Boot", "on"),
    Row(
        "users of the cards",
        "1.3 GiB in use",
        warnings=["A desktop (Xorg, gnome-shell) uses 0.8 GiB of card 0000:01:00.0; the plan leaves memory for it."],
    ),
    Row("packages of others", "nvidia-driver-580-open 580.173.02-0ubuntu0.24.04.1"),
    Row(
        "driver",
        "580.173.02, ok",
        action="keep",
        reason="The driver 580.173.02 works. It is not changed: this role did not install nvidia-driver-580-open.",
    ),
    Row(
        "container engine",
        "none",
        action="install",
        reason="Docker is installed from docker: docker-ce, docker-ce-cli, containerd.io, docker-buildx-plugin, "
        "docker-compose-plugin.",
    ),
    Row("container toolkit", "none", action="install", reason="NVIDIA container toolkit 1.20.1, cdi."),
    Row("Ansible's Python", "3.12"),
    Row("disk", "311.2 GiB free for models (/var/lib/roundhouse/models)"),
    Row("ports", "8000, 8001, 8002, 8080"),
    Row("agents", "architect, dev, po"),
)
OF_THE_MACHINE = ("memory", "Ansible's Python", "disk", "ports", "agents")  # rows that a described host does not have
DESKTOP_GIB = 0.81  # of these rows' card


class Streaming(Api):
    """Stream the answer to a question in pieces of three characters."""

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        answer = ANSWERS[question]
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for start in range(0, len(answer), 3):
            self.tell(answer[start : start + 3])
        self.tell("", "stop")
        self.wfile.write(b"data: [DONE]\n\n")


def measurement(agent):
    """Return what `bench` measured at an agent."""
    figures = ((1, 49.2, 47.6, 0.187, 22.3), (4, 44.8, 168.3, 0.342, 78.9), (16, 31.5, 441.7, 0.911, 207.0))
    levels = [
        row(parallel, each, total, ttft=ttft) | {"requests_per_minute": rate}
        for parallel, each, total, ttft, rate in figures
    ]
    return result(levels) | {
        "agent": agent["name"],
        "model": agent["model"],
        "quantization": agent["quantization"],
        "promised": run.promised(agent["name"]),
    }


def fill_store(store, agents, weights_bytes):
    """Write the models of the agents into a store, with weights of these sizes but no blocks on the disk."""
    for agent, commit, size in zip(agents, COMMITS, weights_bytes, strict=True):
        folder = store / agent["model"] / commit
        folder.mkdir(parents=True)
        header = json.dumps({"t": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        with (folder / "model.safetensors").open("wb") as weights:
            weights.write(struct.pack("<Q", len(header)) + header)
            weights.truncate(8 + len(header) + size)
        for name in ("config.json", "tokenizer.json"):
            (folder / name).write_text("{}")
        found = [_file(path) for path in sorted(folder.iterdir())]
        made = Manifest(agent["model"], commit, found, asked="main", source="https://huggingface.co")
        made.verified_at = VERIFIED_AT
        made.write(folder)
        agent["model_path"] = str(folder)


def _file(path):
    sha256 = hashlib.sha256()
    if path.stat().st_size <= 2 * max(SMALL):
        sha256.update(path.read_bytes())
    return File(path.name, path.stat().st_size, f"sha256:{sha256.hexdigest()}")
