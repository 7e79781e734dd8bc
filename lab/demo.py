#!/usr/bin/env python3
"""The main job on the stand-in host, end to end: `make demo`.

From nothing to three agents that answer: the lab's host, a real model, site.yml with the engine, then a switch to each
agent that does not serve yet, and a question through the OpenAI client. What is slow is made once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import openai
from board import Board, Failed, Tell, command, keep, playbook, recall
from rich.console import Console
from rich.table import Table
from rich.text import Text

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
from roundhouse import lock, ports, remote, setup_run
from roundhouse.errors import RoundhouseError

ROOT = Path(__file__).resolve().parents[1]
PORTS = (8000, 8001, 8002, 8080)
MODEL = "/srv/lab/models/SmolLM2-135M-Instruct"
INVENTORY = ("--inventory", "inventory/lab")
# What suits each role, and what a model of 135 million parameters answers sensibly.
QUESTIONS = {
    "architect": "What is the difference between a relational database and a key-value store? Answer in two sentences.",
    "dev": "Write a Python function that reverses a string.",
    "po": 'Write a user story for a password reset. Begin with "As a user, I want".',
}
ANSWER_TOKENS = 200
IMAGE, HOST, BRING, SITE = "Make the host's image", "Start the stand-in host", "Bring the model", "Run site.yml"
SERVES = "{agent} answers"
# Seconds, by what a step finds: of a machine with two slow cores, for a run without an earlier one.
SHIPPED = {
    **{f"{IMAGE}, new": 75.0, f"{HOST}, new": 12.0, f"{BRING}, new": 30.0},
    **{f"{IMAGE}, again": 1.0, f"{HOST}, again": 8.0, f"{BRING}, again": 2.0},
    **{f"{SITE}, with the engine": 190.0, f"{SITE}, new": 110.0, f"{SITE}, again": 25.0},
    **{"a switch": 60.0, "an answer": 6.0},
}
KEPT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roundhouse" / "demo.json"

console = Console(highlight=False)


class Found(NamedTuple):
    """What there was before: each fact tells how long a step takes. `ready` is the agent that serves."""

    image: bool
    engine: bool
    model: bool
    host: bool
    ready: str | None

    def kinds(self, hub: bool) -> dict[str, str]:
        """Return for each step the name under which its seconds are kept."""
        site = "again" if self.host else "new" if self.engine else "with the engine"
        first = self.ready or next(iter(QUESTIONS))
        kinds = {IMAGE: f"{IMAGE}, {_new(self.image)}", HOST: f"{HOST}, {_new(self.host)}", SITE: f"{SITE}, {site}"}
        if not hub:
            kinds[BRING] = f"{BRING}, {_new(self.model)}"
        return kinds | {SERVES.format(agent=name): "an answer" if name == first else "a switch" for name in QUESTIONS}


def _new(there: bool) -> str:
    return "again" if there else "new"


def look() -> Found:
    """Return what there is."""
    words = [
        "docker",
        "images",
        "--format",
        "{{.Repository}}:{{.Tag}}",
        "--filter",
        "reference=roundhouse-lab:bookworm-*",
    ]
    image = next(iter(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.split()), None)
    if image is None:
        return Found(image=False, engine=False, model=False, host=False, ready=None)
    volumes = [
        "--volume=roundhouse-lab-engine:/opt/roundhouse/engine",
        "--volume=roundhouse-lab-models:/srv/lab/models",
    ]
    inside = ["docker", "run", "--rm", *volumes, image, "test"]
    engine = _succeeds(*inside, "-x", f"{lock.engine_path('cpu', 'python3.11')}/bin/vllm")
    host = remote.lab_is_up() and _succeeds("docker", "exec", remote.LAB, "test", "-e", "/etc/roundhouse/plan.json")
    return Found(True, engine, _succeeds(*inside, "-e", f"{MODEL}.made-from"), host, active() if host else None)


def _succeeds(*words: str) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def status() -> list[dict[str, Any]]:
    """Return the rows of the command's status on the lab. Raises RoundhouseError."""
    return list(remote.ask(remote.LAB_WORD, ["--json", "status"])["agents"])


def active() -> str | None:
    """Return the agent that serves on the lab, None for none."""
    try:
        return next((row["agent"] for row in status() if row["state"] == "ready"), None)
    except RoundhouseError:  # a host of another version, or one that is ill: site.yml tells
        return None


def prepare(board: Board, hub: bool) -> None:
    """Bring the host up, and the model beside it where no hub has it. Raises Failed."""

    def script(name: str, *words: str) -> None:
        with board.step(name) as tell:
            command([*words], tell, cwd=ROOT)

    script(IMAGE, "lab/image.sh", "bookworm")
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(script, HOST, "ansible-playbook", *INVENTORY, "lab/create.yml")]
        if not hub:
            running.append(pool.submit(script, BRING, "lab/smollm.sh"))
        for each in running:
            each.result()


def switch(agent: str, tell: Tell) -> dict[str, float]:
    """Run the user's command toward the lab, tell its progress, and return the seconds of its stages."""
    words = [sys.executable, "scripts/switch.py", "--on", remote.LAB_WORD, "--json", agent]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        for line in running.stderr or ():
            tell(line.partition("] ")[2].strip() or line.strip())
        told = json.loads((running.stdout.read() if running.stdout else "") or "{}")
    if running.returncode != 0:
        raise Failed(told["errors"][0]["message"] if told else f"scripts/switch.py {agent} ended without a word.")
    return dict(told["stages"])


def ask(agent: str, port: int) -> str:
    """Return the agent's answer to its question, asked as its users do; the same each time."""
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="not-needed")
    messages: Any = [{"role": "user", "content": QUESTIONS[agent]}]
    answer = client.chat.completions.create(model=agent, messages=messages, max_tokens=ANSWER_TOKENS, temperature=0)
    text = (answer.choices[0].message.content or "").strip()
    if not text:
        raise Failed(f"{agent} gave an empty answer: scripts/switch.py logs {agent}")
    return text


def serve(board: Board) -> Table:
    """Ask each agent: first the one that serves, then each of the others after a switch to it."""
    table = Table(title="Three agents, one at a time", show_lines=True)
    for column in ("agent", "model", "switch", "question", "answer"):
        table.add_column(column, overflow="fold", ratio=3 if column in ("question", "answer") else 1)
    for row in sorted(status(), key=lambda row: bool(row["state"] != "ready")):
        agent, took = row["agent"], "none: it served"
        with board.step(SERVES.format(agent=agent)) as tell:
            if row["state"] != "ready":
                took = "\n".join(f"{stage} {seconds:.1f} s" for stage, seconds in switch(agent, tell).items())
            tell("answering")
            answer = ask(agent, row["port"])
        name = row["model"].rpartition("/")[2]
        table.add_row(f"{agent}\nport {row['port']}", name, took, Text(QUESTIONS[agent]), Text(answer))
    return table


def go_on(rows: list[dict[str, Any]]) -> str:
    """Return what may be done next, for the agents as they are: [{"agent", "state", "port"}]."""
    ready = next((row for row in rows if row["state"] == "ready"), None)
    other = next(row for row in rows if row is not ready)
    asked = ready or other
    lines = [
        (f"scripts/switch.py {other['agent']}", f"switch to another agent; now {asked['agent']} serves"),
        ("scripts/switch.py status", "which agent serves"),
        (f"scripts/switch.py logs {asked['agent']}", "the log of its engine"),
        ("curl http://127.0.0.1:8080/v1/models", "all agents: a request there goes by its field `model`"),
        ("make lab-down", "stop the host, and keep what was slow to make"),
        ("make demo-down", "leave nothing"),
    ]
    message = json.dumps({"model": asked["agent"], "messages": [{"role": "user", "content": "Hello"}]})
    url = f"http://127.0.0.1:{asked['port']}/v1/chat/completions"
    curl = f"curl {url} -H 'Content-Type: application/json' \\\n    -d '{message}'"
    listed = "\n".join(f"  {words:<40}{text}" for words, text in lines)
    return f"\nThe stand-in host goes on running. To go on:\n\n{listed}\n\n  {curl}\n"


def refuse_taken_ports() -> None:
    """End with a sentence when this machine's own programs hold the agents' ports."""
    if remote.lab_is_up():
        return
    for port in PORTS:
        if holder := ports.holder(port):
            raise SystemExit(f"demo: port {port} of this machine is taken by {holder}: stop that and try again.")


def main(argv: list[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="a hub's model for all agents, such as Qwen/Qwen2.5-0.5B-Instruct")
    hub = parser.parse_args(argv).model
    refuse_taken_ports()
    begun = time.monotonic()
    kinds = look().kinds(bool(hub))
    before = recall(KEPT)
    by = "earlier runs" if before.keys() >= {*kinds.values()} else "the times of a machine with two slow cores"
    board = Board([*kinds], {name: (SHIPPED | before)[kind] for name, kind in kinds.items()}, by)
    wanted = setup_run.Wanted((), "inventory/lab", ("--extra-vars", json.dumps({"lab_model": hub or MODEL})))
    try:
        with board.shown():
            prepare(board, bool(hub))
            with board.step(SITE) as tell:
                playbook(wanted, board, tell)
            table = serve(board)
            rows = status()
    except (Failed, RoundhouseError) as error:
        print(f"demo: {error}\n`make demo` again goes on from there.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; `make demo` again goes on from there.", file=sys.stderr)
        return 130
    keep(KEPT, {kinds[name]: seconds for name, seconds in board.seconds().items()})
    console.print(table)
    print(f"in all {time.monotonic() - begun:.0f} s")
    print(go_on(rows))  # as it is: a wrapped line could not be pasted
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
