"""The steps of a long program on one screen, or as lines where there is no terminal.

It extends the screen of scripts/setup_vllm.py to steps that run in parallel and to steps with parts. It shows the
action and the progress of each step, and the time left by the last run.
"""

from __future__ import annotations

import json
import math
import re
import sys
import textwrap
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import Any, TextIO

from rich.live import Live
from rich.text import Text

from roundhouse.cli import setup_run, setup_screen
from roundhouse.cli.setup_run import DONE, FAILED, RUNS, WAITING, Event, Run, Stage
from roundhouse.util import console, json_file
from roundhouse.util.progress import duration

EVERY_SECONDS = 10.0  # so often a log has a line for each step that runs
KEPT_LINES = 30  # of a command's output, for the error
_COLOURS = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
_TASK = re.compile(r"^TASK \[(.+)\]")

Tell = Callable[[str], None]


class Failed(Exception):
    """A step failed; the text is for a person."""


class Board:
    """The steps by their names, in the order in which they are shown.

    `expected` are the seconds of each, and `by` is their source; both may be set later. `beside` are groups of steps
    that run at the same time. `log` gets the output of the programs.
    """

    def __init__(
        self,
        names: list[str],
        expected: dict[str, float],
        by: str = "the last run",
        beside: Sequence[Sequence[str]] = (),
        log: TextIO | None = None,
    ) -> None:
        self.run = Run(names)
        self.expected, self.by, self.beside, self.log = expected, by, beside, log
        self._parts: dict[str, list[Stage]] = {}
        self._notes: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self._terminal = sys.stdout.isatty()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the steps within the `with`, and at its end the seconds of each."""
        over = threading.Event()
        log = threading.Thread(target=self._log, args=(over,), daemon=True)
        try:
            if self._terminal:
                with Live(
                    get_renderable=lambda: Text(self.screen(console.width())), refresh_per_second=2, transient=True
                ):
                    yield
            else:
                log.start()
                yield
        finally:
            over.set()
            if log.is_alive():  # otherwise a line of it could follow the summary
                log.join()
            print(setup_screen.summary(self._with_parts(), time.monotonic(), console.width()), flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[Tell]:
        """Run a step within the `with`, and yield a function that sets its current action.

        The reason of a failure is shown at once if a parallel step still runs; otherwise the caller shows it.
        """
        stage = next(each for each in self.run.stages if each.name == name)
        stage.state, stage.begun = RUNS, time.monotonic()
        self.say(f"== {name}{self._of(stage, ', about ')}")
        try:
            yield lambda text: self._notes.update({name: text})
        except BaseException as error:
            stage.state = FAILED
            self._reasons[name] = str(error)
            raise
        else:
            stage.state = DONE
        finally:
            stage.ended = time.monotonic()
            self._notes.pop(name, None)
            self.say(f"{'+' if stage.state == DONE else 'x'} {name}, {duration(stage.seconds(0) or 0)}")
            if self._is_beside_an_open_one(name):
                for line in self._reasons.get(name, "").splitlines():
                    self.say(f"   {line}")

    def say(self, text: str) -> None:
        """Print a line of the log; a terminal shows the screen instead."""
        if not self._terminal:
            print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def screen(self, width: int) -> str:
        """Return all steps and their parts, the actions of the running ones, and the time left."""
        now = time.monotonic()
        reasons = [f"{name}: {line}" for name, told in [*self._reasons.items()] for line in told.splitlines()]
        doing = [line for told in [*reasons, *self.doing(now)] for line in textwrap.wrap(told, width)]
        left = self.time_left(now)
        return "\n".join(
            [
                setup_screen.stages(self._with_parts(), width, now, self.expected, "about {}"),
                "",
                *doing,
                *(["", left] if left else []),
            ]
        )

    def part(self, name: str, done: Stage) -> None:
        """Add a part of a step that ended, such as a play."""
        stage = Stage(f"  {done.name}", DONE if done.state == DONE else FAILED, done.tasks, done.changed)
        stage.begun, stage.ended = 0.0, done.seconds(done.ended or 0.0)
        self._parts.setdefault(name, []).append(stage)
        self.say(f"   {done.name}: {done.tasks} tasks, {done.changed} changed, {duration(stage.ended or 0.0)}")

    def _with_parts(self) -> Run:
        found = Run([])
        found.stages = [each for stage in self.run.stages for each in (stage, *self._parts.get(stage.name, []))]
        return found

    def doing(self, now: float) -> list[str]:
        """Return a line for each step that runs."""
        found = []
        for stage in self.run.stages:
            if stage.state == RUNS:
                note, took = self._notes.get(stage.name, "beginning"), duration(stage.seconds(now) or 0)
                found.append(f"{stage.name}: {note} ({took}{self._of(stage, ' of about ')})")
        return found

    def time_left(self, now: float) -> str | None:
        """Return the time left, None where it is unknown; the longest of parallel steps counts."""
        stages = {stage.name: stage for stage in self.run.stages}
        skipped: set[str] = set()
        for group in self.beside:
            names = [name for name in group if name in stages]
            longest = max(names, key=lambda name: self._remaining(stages[name], now), default=None)
            skipped |= {*names} - {longest}
        counted = Run([])
        counted.stages = [stage for stage in self.run.stages if stage.name not in skipped]
        return setup_screen.time_left(counted, now, self.expected, self.by)

    def _is_beside_an_open_one(self, name: str) -> bool:
        """Return whether a parallel step waits or runs."""
        others = {other for group in self.beside if name in group for other in group} - {name}
        return any(stage.name in others and stage.state in (WAITING, RUNS) for stage in self.run.stages)

    def _remaining(self, stage: Stage, now: float) -> float:
        if stage.state not in (WAITING, RUNS):
            return -math.inf
        return max(self.expected.get(stage.name, math.inf) - (stage.seconds(now) or 0.0), 0.0)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each completed step."""
        return {each.name: round(each.seconds(0.0) or 0.0, 1) for each in self.run.stages if each.state == DONE}

    def _of(self, stage: Stage, before: str) -> str:
        return f"{before}{duration(self.expected[stage.name])}" if stage.name in self.expected else ""

    def _log(self, over: threading.Event) -> None:
        while not over.wait(EVERY_SECONDS):
            now = time.monotonic()
            for line in self.doing(now):
                self.say(f"   {line}")
            if left := self.time_left(now):
                self.say(f"   {left}")


def command(words: list[str], tell: Tell, log: TextIO | None = None, **more: Any) -> None:
    """Run a command and report its last line, of a playbook its task. Raises Failed with its last lines."""
    said: deque[str] = deque(maxlen=KEPT_LINES)
    with Popen(words, stdout=PIPE, stderr=STDOUT, text=True, errors="replace", **more) as running:
        for raw in running.stdout or ():
            line = _COLOURS.sub("", raw).strip()
            if log:
                print(line, file=log, flush=True)
            if line:
                said.append(line)
            task = _TASK.match(line)
            if task or (line and words[0] != "ansible-playbook"):
                tell(task[1] if task else line)
    if running.returncode != 0:
        raise Failed("\n".join([*said, f"{words[0]} failed: its last lines are above."]))


def playbook(wanted: setup_run.Wanted, board: Board, name: str, tell: Tell) -> None:
    """Run site.yml as the step of that name, each play as a part of it. Raises Failed, KeyboardInterrupt."""
    run = Run([])

    def feed(each: Event) -> None:
        ended = run.now if each.what == "play" else None
        run.feed(each)
        if ended and ended.tasks:
            board.part(name, ended)
        if run.now:
            tell(f"{run.now.name}: {run.note or run.task or 'beginning'}")

    status = setup_run.run(wanted, feed, board.log)
    run.end(time.time(), good=status == "successful")
    if run.now and run.now.tasks:
        board.part(name, run.now)
    if status == "canceled":
        raise KeyboardInterrupt
    if status != "successful":
        raise Failed("\n".join(f"{host}: {told}" for host, told in run.failed.items()) or "ansible-playbook failed.")


def recall(file: Path) -> dict[str, float]:
    """Return the seconds of earlier runs from a file; {} where it cannot be read."""
    try:
        return {str(name): float(seconds) for name, seconds in json.loads(file.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def keep(file: Path, seconds: dict[str, float]) -> None:
    """Add seconds to the file for the next run."""
    json_file.write(file, recall(file) | seconds, durable=False)
