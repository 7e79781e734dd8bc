#!/usr/bin/env python3
"""The main job on the stand-in host, end to end: `make demo`.

From nothing to three agents that answer: the lab's host, the engine, the models, site.yml, then a
switch to each agent and a chat with it through the OpenAI client. What is slow is made once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from roundhouse import ports, remote  # noqa: E402 - the package is found after sys.path is set

console = Console(highlight=False)
QUESTION = "How should we begin?"
PORTS = (8000, 8001, 8002, 8080)
GO_ON = """
The lab's host goes on running, and the last agent with it. To go on:

  scripts/switch.py architect          switch to another agent
  scripts/switch.py status             who serves
  scripts/switch.py logs po            its engine's log
  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model": "architect", "messages": [{"role": "user", "content": "Hello"}]}'

  curl http://127.0.0.1:8080/v1/models   all agents; requests there go by their field `model`

  make lab-down                        stop it, and keep what was slow to make
  make demo-down                       leave nothing
"""


class Stages:
    """Runs the stages one after another and keeps their seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, title: str, work: Callable[[], Any]) -> Any:
        """Say the title, do the work, say how long it took, return the work's result."""
        console.rule(f"[bold]{title}", align="left")
        begun = time.monotonic()
        result = work()
        self.seconds[title] = time.monotonic() - begun
        console.print(f"{title}: {self.seconds[title]:.0f} s\n", style="green")
        return result


def playbook(name: str, *arguments: str) -> Callable[[], None]:
    """Return work that runs a playbook on the lab's inventory and ends the demo when it fails."""

    def work() -> None:
        command = ["ansible-playbook", "--inventory", "inventory/lab", name, *arguments]
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            raise SystemExit(f"demo: {name} failed; the sentence above says why. `make demo` again goes on from there.")

    return work


def switch(agent: str) -> dict[str, Any]:
    """Run the user's command toward the lab; its progress goes to stderr, its result comes back."""
    command = [sys.executable, "scripts/switch.py", "--on", remote.LAB_WORD, "--json", agent]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    result: dict[str, Any] = json.loads(done.stdout)
    if done.returncode != 0:
        raise SystemExit(f"demo: {result['errors'][0]['message']}")
    return result


def chat(agent: str, port: int) -> str:
    """Ask the agent a question as its users do."""
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="not-needed")
    messages: Any = [{"role": "user", "content": QUESTION}]
    answer = client.chat.completions.create(model=agent, messages=messages, max_tokens=48)
    text = " ".join((answer.choices[0].message.content or "").split())
    if not text:
        raise SystemExit(f"demo: {agent} gave an empty answer: scripts/switch.py logs {agent}")
    return text


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
    parser.add_argument("--model", default="", help="one real model for all agents, such as Qwen/Qwen2.5-0.5B-Instruct")
    model = parser.parse_args(argv).model
    refuse_taken_ports()
    stages, begun = Stages(), time.monotonic()
    stages.run("Engine and tiny models, made once", playbook("lab/prepare.yml"))
    stages.run("Stand-in host", playbook("lab/create.yml"))
    stages.run("site.yml", playbook("site.yml", "--extra-vars", json.dumps({"lab_model": model})))

    table = Table(title="Three agents, one at a time", show_lines=True)
    for column in ("agent", "port", "model", "switch", "answer"):
        table.add_column(column, overflow="fold")
    rows = [*status()]
    for row in [row for row in rows if row["state"] != "ready"] + [row for row in rows if row["state"] == "ready"]:
        agent, port = row["agent"], row["port"]
        result = stages.run(f"Switch to {agent}", lambda agent=agent: switch(agent))
        took = "\n".join(f"{stage} {seconds:.1f} s" for stage, seconds in result["stages"].items())
        table.add_row(agent, str(port), row["model"].rpartition("/models/")[2], took, chat(agent, port))

    console.print(table)
    for title, seconds in stages.seconds.items():
        console.print(f"  {title:<36}{seconds:6.0f} s")
    console.print(f"  {'in all':<36}{time.monotonic() - begun:6.0f} s")
    print(GO_ON)  # as it is: a wrapped line could not be pasted
    return 0


def status() -> list[dict[str, Any]]:
    """Return the rows of the command's status on the lab."""
    command = [sys.executable, "scripts/switch.py", "--on", remote.LAB_WORD, "--json", "status"]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return list(json.loads(output)["agents"])


if __name__ == "__main__":
    raise SystemExit(main())
