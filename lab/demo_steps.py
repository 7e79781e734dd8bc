"""The steps of the demo, and the time of each by what exists already."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from board import Failed, Tell, recall

from roundhouse import pins
from roundhouse.cli import remote, target_host
from roundhouse.errors import RoundhouseError
from roundhouse.paths import CHECKOUT as ROOT

MODEL = "/srv/lab/models/SmolLM2-135M-Instruct"
# A question for each role that a model of 135 million parameters can answer.
QUESTIONS = {
    "architect": "What is the difference between a relational database and a key-value store? Answer in two sentences.",
    "dev": "Write a Python function that reverses a string.",
    "po": 'Write a user story for a password reset. Begin with "As a user, I want".',
}
INSPECT = "Inspect the machine"
IMAGE, HOST, PULL, SITE = "Build the host's image", "Start the stand-in host", "Pull the model", "Run site.yml"
BESIDE = ((HOST, PULL),)  # they run at the same time
SERVES = "{agent} answers"
# A pattern in the answer of the demo's own model; without it the model is damaged. At temperature 0 the answer does not
# change.
SIGNS = {"architect": r"(?i)\bdatabase", "dev": r"\bdef \w+\(", "po": r"(?i)\bas a user\b"}
# Seconds of a first run, by what a step finds. They are twice those of a machine with two cores and AVX-512, because
# slow cores take that long.
SHIPPED = {
    INSPECT: 2.0,
    **{f"{IMAGE}, new": 76.0, f"{HOST}, new": 7.0, f"{PULL}, new": 17.0},
    **{f"{IMAGE}, again": 1.0, f"{HOST}, again": 6.0, f"{PULL}, again": 1.0},
    **{f"{SITE}, with the engine": 175.0, f"{SITE}, new": 90.0},
    **{f"{SITE}, another model": 75.0, f"{SITE}, again": 14.0},
    **{"a switch": 42.0, "an answer": 4.0},
}
KEPT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roundhouse" / "demo.json"
LOG = KEPT.with_suffix(".log")  # the output of Ansible and of the other programs


class Found(NamedTuple):
    """The state before the demo, which decides how long a step takes.

    `models` are those of the agents on the host, and `ready` is the active agent.
    """

    image: bool
    engine: bool
    model: bool
    host: bool
    models: frozenset[str]
    ready: str | None

    def kinds(self, hub: str) -> dict[str, str]:
        """Return for each step the name under which its seconds are kept; a hub's model has its own."""
        if self.host and self.models:
            site = "again" if self.models == {hub or MODEL} else "another model"
        else:
            site = "new" if self.engine else "with the engine"
        first = self.ready or next(iter(QUESTIONS))
        of_hub = f", {hub}" if hub else ""
        kinds = {INSPECT: INSPECT, IMAGE: f"{IMAGE}, {_new(self.image)}", HOST: f"{HOST}, {_new(self.host)}"}
        kinds |= {PULL: f"{PULL}, {_new(self.model)}", SITE: f"{SITE}, {site}{of_hub}"}
        for name in QUESTIONS:
            kinds[SERVES.format(agent=name)] = f"{'an answer' if name == first else 'a switch'}{of_hub}"
        return {name: kinds[name] for name in steps(hub)}


def steps(hub: str) -> list[str]:
    """Return the names of the steps in their order."""
    return [INSPECT, IMAGE, HOST, *([] if hub else [PULL]), SITE, *(SERVES.format(agent=name) for name in QUESTIONS)]


def _new(there: bool) -> str:
    return "again" if there else "new"


def inspect(tell: Tell) -> Found:
    """Return the state before the demo. Raises Failed."""
    tell("the host's image")
    image = _output("lab/image.sh", "--name", "bookworm").strip()
    listing = ("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter")
    images = _output(*listing, "reference=roundhouse-lab:bookworm-*").split()
    if not images:
        return Found(image=False, engine=False, model=False, host=False, models=frozenset(), ready=None)
    there = image in images
    tell("the engine and the model")
    engine, model = inspect_volumes(image if there else images[0])  # one of other inputs shows the volumes as well
    tell("the host")
    if not there or not _runs(image):
        return Found(there, engine, model, host=False, models=frozenset(), ready=None)
    rows = deployed()
    ready = next((row["agent"] for row in rows if row["state"] == "ready"), None)
    return Found(there, engine, model, host=True, models=frozenset(row["model"] for row in rows), ready=ready)


def inspect_volumes(image: str) -> tuple[bool, bool]:
    """Return whether the engine and the model exist."""
    volumes = [
        f"--volume=roundhouse-lab-{name}" for name in ("engine:/opt/roundhouse/engine", "models:/srv/lab/models")
    ]
    script = 'test ! -x "$1" || echo engine; test ! -e "$2" || echo model'
    files = (f"{pins.engine_path('cpu', 'python3.11')}/bin/vllm", f"{MODEL}.made-from")
    found = _output("docker", "run", "--rm", *volumes, image, "sh", "-c", script, "sh", *files).split()
    return "engine" in found, "model" in found


def _runs(image: str) -> bool:
    """Return whether the host runs with this image; create.yml replaces a host of another image."""
    if not target_host.lab_is_up():
        return False
    of_host = _output("docker", "container", "inspect", "--format", "{{.Image}}", target_host.LAB)
    return of_host == _output("docker", "image", "inspect", "--format", "{{.Id}}", image)


def _output(*words: str) -> str:
    """Return the output of a command. Raises Failed with its errors."""
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise Failed(f"{done.stderr.strip()}\n{' '.join(words[:2])} failed with status {done.returncode}.".strip())
    return done.stdout


def status() -> list[dict[str, Any]]:
    """Return the rows of the command's status on the lab. Raises RoundhouseError."""
    return list(remote.ask(target_host.LAB_WORD, ["--json", "status"])["agents"])


def deployed() -> list[dict[str, Any]]:
    """Return the rows of the status; [] where no plan is deployed."""
    has_plan = ("docker", "exec", target_host.LAB, "test", "-e", "/etc/roundhouse/plan.json")
    if subprocess.run(has_plan, capture_output=True, check=False).returncode != 0:
        return []
    try:
        return status()
    except RoundhouseError:  # a host of another version, or a faulty one: site.yml reports it
        return []


def estimates(kinds: dict[str, str]) -> tuple[dict[str, float], str]:
    """Return the known seconds of the steps, and their source."""
    before = recall(KEPT)
    by = "earlier runs" if before.keys() >= {*kinds.values()} else "the times of a machine with two slow cores"
    known = SHIPPED | before
    return {name: known[kind] for name, kind in kinds.items() if kind in known}, by
