#!/usr/bin/env python3
"""The main job on the stand-in host, end to end: `make demo`.

The demo starts the lab's host, brings a real model and runs site.yml, which installs the engine. Then it switches to
each agent and sends it a question through the OpenAI client. Slow steps are cached.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import openai
from board import KEPT_LINES, Board, Failed, Tell, command, keep, playbook
from demo_steps import (
    BESIDE,
    HOST,
    IMAGE,
    INSPECT,
    KEPT,
    LOG,
    MODEL,
    PULL,
    QUESTIONS,
    SERVES,
    SHIPPED,
    SIGNS,
    SITE,
    estimates,
    inspect,
    status,
    steps,
)
from rich.console import Console
from rich.text import Text

from roundhouse.agents import ports
from roundhouse.cli import setup_run, target_host
from roundhouse.errors import RoundhouseError
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.util import console as terminal

PORTS = (8000, 8001, 8002, 8080)
INVENTORY = ("--inventory", "inventory/lab")
ANSWER_TOKENS = 512
TINY = (
    "The agents run SmolLM2 with 135 million parameters, on the CPU. These answers are not a measure of the quality "
    "of a model that fits a GPU."
)

console = Console(highlight=False)


def prepare(board: Board, hub: str) -> None:
    """Start the host, and build the model in parallel unless a hub has it. Raises Failed."""

    def script(name: str, *words: str) -> None:
        with board.step(name) as tell:
            command([*words], tell, board.log, cwd=ROOT)

    script(IMAGE, "lab/image.sh", "bookworm")
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(script, HOST, "ansible-playbook", *INVENTORY, "lab/create.yml")]
        if not hub:
            running.append(pool.submit(script, PULL, "lab/smollm.sh"))
    if errors := [error for each in running if (error := each.exception())]:
        raise Failed("\n".join(map(str, errors))) from errors[0]


def switch(agent: str, tell: Tell) -> dict[str, float]:
    """Run the user's command on the lab, report its progress, and return the seconds of its phases. Raises Failed."""
    words = [sys.executable, "scripts/switch.py", "--on", target_host.LAB_WORD, "--json", agent]
    said: deque[str] = deque(maxlen=KEPT_LINES)
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
    with subprocess.Popen(words, cwd=ROOT, **pipes) as running:
        for line in running.stderr or ():
            wraps = line.startswith("   ") and bool(said)  # the line continues the one before
            said.append(f"{said.pop()} {line.strip()}" if wraps else line.rstrip())
            tell(said[-1].partition("] ")[2] or said[-1])
        printed = running.stdout.read() if running.stdout else ""
    try:
        told = json.loads(printed)
        if running.returncode == 0:
            return dict(told["stages"])
        reason = str(told["errors"][0]["message"])
    except (ValueError, LookupError, TypeError):
        printed = printed.strip()[-200:] or "nothing"
        ended = (
            f"scripts/switch.py {agent} ended with status {running.returncode} and printed no result, but: {printed}"
        )
        reason = "\n".join([*said, ended])
    raise Failed(reason)


def ask(agent: str, port: int, sign: str = "") -> str:
    """Return the agent's answer to its question, which is the same each time.

    Raises Failed, also where the answer does not match the regular expression `sign`.
    """
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="not-needed")
    messages: Any = [{"role": "user", "content": QUESTIONS[agent]}]
    try:
        answer = client.chat.completions.create(model=agent, messages=messages, max_tokens=ANSWER_TOKENS, temperature=0)
    except openai.OpenAIError as error:
        raise Failed(f"{agent} did not answer ({error}): scripts/switch.py logs {agent}") from error
    text = (answer.choices[0].message.content or "").strip()
    if not text:
        raise Failed(f"{agent} gave an empty answer: scripts/switch.py logs {agent}")
    if not re.search(sign, text):
        anew = "Run `make demo-down`, which removes it, and `make demo`, which builds it again."
        raise Failed(f"{agent}: the answer does not fit the question, so its model is damaged: {text[:200]!r}. {anew}")
    cut = answer.choices[0].finish_reason == "length"
    return f"{text}\n(cut at {ANSWER_TOKENS} tokens)" if cut else text


class Served(NamedTuple):
    """An agent's answer. `switch` are the seconds of the switch, or None; `seconds` are those of the answer."""

    agent: str
    port: int
    model: str
    switch: float | None
    seconds: float
    answer: str

    def text(self) -> Text:
        """Return a heading, the question and the answer."""
        switch = "already active" if self.switch is None else f"switch {self.switch:.1f} s"
        heading = f"{self.agent}, port {self.port}, {self.model}: {switch}, answer {self.seconds:.1f} s"
        parts = ((heading, "bold"), "\n", (QUESTIONS[self.agent], "italic"), "\n\n", self.answer, "\n")
        return Text.assemble(*parts, overflow="fold")


def serve(board: Board, hub: str) -> list[Served]:
    """Ask each agent: first the active one, then each other after a switch. Raises Failed."""
    found = []
    for row in sorted(status(), key=lambda row: bool(row["state"] != "ready")):
        agent = row["agent"]
        with board.step(SERVES.format(agent=agent)) as tell:
            switched = None if row["state"] == "ready" else sum(switch(agent, tell).values())
            tell("answering")
            begun = time.monotonic()
            answer = ask(agent, row["port"], "" if hub else SIGNS[agent])
        seconds = time.monotonic() - begun
        found.append(Served(agent, row["port"], row["model"].rpartition("/")[2], switched, seconds, answer))
    return found


def go_on(rows: list[dict[str, Any]]) -> str:
    """Return the next commands to try, for rows of {"agent", "state", "port"}."""
    ready = next((row for row in rows if row["state"] == "ready"), None)
    other = next(row for row in rows if row is not ready)
    asked = ready or other
    active = f"{ready['agent']} is active" if ready else "no agent is active"
    lines = [
        (f"scripts/switch.py {other['agent']}", f"switch to another agent; {active}"),
        ("scripts/switch.py status", "show the agents"),
        (f"scripts/switch.py logs {asked['agent']}", "show the log of its engine"),
        ("curl http://127.0.0.1:8080/v1/models", "list all agents; this port routes a request by its field `model`"),
        ("make lab-down", "remove the host, and keep the caches"),
        ("make demo-down", "remove the host and the caches"),
    ]
    message = json.dumps([{"role": "user", "content": "Hi"}])
    url = f"http://127.0.0.1:{asked['port']}/v1/chat/completions"
    body = f'{{"model": "{asked["agent"]}", "messages": {message}}}'
    curl = f"curl {url} \\\n    -H 'Content-Type: application/json' \\\n    -d '{body}'"
    listed = terminal.wrapped("\n".join(f"  {words:<38}{text}" for words, text in lines))
    return f"\nThe stand-in host is still running. Next commands:\n\n{listed}\n\n  {curl}\n"


def refuse_taken_ports() -> None:
    """Exit with an error if another program of this machine uses the agents' ports."""
    if target_host.lab_is_up():
        return
    for port in PORTS:
        if holder := ports.holder(port):
            raise SystemExit(f"demo: Port {port} of this machine is used by {holder}. Stop that and try again.")


def run(board: Board, hub: str) -> tuple[dict[str, str], list[Served]]:
    """Run all steps and return the names under which their seconds are kept, and the answers.

    Raises Failed, RoundhouseError, KeyboardInterrupt.
    """
    wanted = setup_run.Wanted((), "inventory/lab", ("--extra-vars", json.dumps({"lab_model": hub or MODEL})))
    with board.step(INSPECT) as tell:
        kinds = inspect(tell).kinds(hub)
    board.expected, board.by = estimates(kinds)
    prepare(board, hub)
    with board.step(SITE) as tell:
        playbook(wanted, board, SITE, tell)
    return kinds, serve(board, hub)


def main(argv: list[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="a hub's model for all agents, such as Qwen/Qwen2.5-0.5B-Instruct")
    hub = parser.parse_args(argv).model
    refuse_taken_ports()
    begun = time.monotonic()
    LOG.parent.mkdir(parents=True, exist_ok=True)
    print(terminal.wrapped(f"The output of Ansible goes to {LOG}"))
    with LOG.open("w") as log:
        board = Board(steps(hub), {INSPECT: SHIPPED[INSPECT]}, beside=BESIDE, log=log)
        try:
            with board.shown():
                kinds, found = run(board, hub)
                rows = status()
        except (Failed, RoundhouseError) as error:
            terminal.say(f"demo: {error}\nThe log is {LOG}. Run `make demo` again to continue from there.")
            return 1
        except KeyboardInterrupt:
            terminal.say("demo: Interrupted. Run `make demo` again to continue from there.")
            return 130
    keep(KEPT, {kinds[name]: seconds for name, seconds in board.seconds().items()})
    print()
    if not hub:
        print(f"{terminal.wrapped(TINY, hanging='')}\n")
    for each in found:
        console.print(each.text())
    print(f"Total: {time.monotonic() - begun:.0f} s")
    print(go_on(rows))  # as it is: a wrapped line could not be pasted
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
