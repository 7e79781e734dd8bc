#!/usr/bin/env python3
"""Measure the start of each command beside bare Python: `benchmarks/command.py [--before CHECKOUT] [--rounds N]`.

Each round runs bare Python (`python3 -c pass`) and then every command once, with bytecode. A command's cost is its time
minus bare Python's of the same round. With --before, each command of that checkout runs in the same round too, and the
ratio is that of the two costs. The commands run on a stand-in host: systemctl and docker are scripts, and engines are
sockets on loopback. The program prints medians with minimum and maximum, in milliseconds. It exits 1 if a median is
above its limit.

    git worktree add /tmp/before REVISION
    benchmarks/command.py --before /tmp/before
"""

from __future__ import annotations

import argparse
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from roundhouse.paths import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests/unit"))
from small_server import served
from stand_in_host import READY, STOPPED, Engine, Host, agent

ROUNDS, SILENT_ROUNDS = 15, 3  # a version that asks engines in turn takes many seconds
OVER_BARE_MS, SILENT_MS = 100.0, 1200.0
WIDTHS = (36, 24, 24, 18, 22)


class Case(NamedTuple):
    """A command: Python's options for it in a checkout, and its limit; `rounds` None is all."""

    name: str
    options: Callable[[Path], list[str]]
    host: Host
    limit_ms: float | None = None
    over_bare: bool = True
    rounds: int | None = None


class Took(NamedTuple):
    """The milliseconds of one run: elapsed, and of the processor."""

    elapsed: float
    cpu: float


def run(options: list[str], host: Host, folder: Path) -> Took:
    """Run Python once with these options."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *options], env=host.environment(), cwd=folder, capture_output=True, check=False)
    elapsed, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(1000 * elapsed, 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))


def cases(folder: Path, engine_port: int, silent_ports: list[int]) -> list[Case]:
    """Return the commands, each with its host."""
    idle = Host(folder / "idle", [agent(0, 9), agent(1, 10)], [STOPPED, STOPPED])
    busy = Host(folder / "busy", [agent(0, engine_port), agent(1, 10)], [READY, STOPPED])
    hung = Host(folder / "hung", [agent(at, port) for at, port in enumerate(silent_ports)], [READY, READY])

    def of(host: Host, *words: str) -> Callable[[Path], list[str]]:
        return lambda checkout: host.program(checkout / "src", *words)

    def plan(*words: str) -> Callable[[Path], list[str]]:
        return lambda checkout: [str(checkout / "scripts/plan.py"), *words]

    return [
        Case("roundhouse --help", of(idle, "--help"), idle, OVER_BARE_MS),
        Case("roundhouse status, no engine runs", of(idle, "status"), idle, OVER_BARE_MS),
        Case("roundhouse status, one answers", of(busy, "status"), busy, OVER_BARE_MS),
        Case("plan.py, the roster on one card", plan("--gpu", "RTX 5070 Ti"), idle, OVER_BARE_MS),
        Case("plan.py --help", plan("--help"), idle, OVER_BARE_MS),
        Case("ExecStopPost=, a requested stop", of(idle, "ended", "agent-0"), idle),
        Case("ExecStartPre=, of a container", of(idle, "clear", "agent-0"), idle),
        Case("roundhouse status, two never answer", of(hung, "status"), hung, SILENT_MS, False, SILENT_ROUNDS),
    ]


def measure(all_cases: list[Case], checkouts: list[Path], rounds: int) -> dict[tuple[str, Path], list[Took]]:
    """Return what each case took in each checkout, above bare Python where its limit is."""
    found: dict[tuple[str, Path], list[Took]] = {}
    pairs = [(case, checkout) for case in all_cases for checkout in checkouts]
    for case, checkout in pairs:
        if case.rounds is None:
            run(case.options(checkout), case.host, checkout)  # writes the bytecode
    for number in range(rounds):
        bare = run(["-c", "pass"], all_cases[0].host, checkouts[0])
        # The order of the checkouts alternates, so that caches and heat favour neither.
        for case, checkout in pairs if number % 2 == 0 else reversed(pairs):
            if case.rounds is None or number < case.rounds:
                took = run(case.options(checkout), case.host, checkout)
                less = Took(took.elapsed - bare.elapsed, took.cpu - bare.cpu) if case.over_bare else took
                found.setdefault((case.name, checkout), []).append(less)
        found.setdefault(("bare", checkouts[0]), []).append(bare)
    return found


def shown(values: list[float], digits: int = 0) -> str:
    """Return the median with minimum and maximum."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def line(*cells: str) -> None:
    """Print a row of the table."""
    print("".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=False)).rstrip())


def report(all_cases: list[Case], checkouts: list[Path], found: dict[tuple[str, Path], list[Took]]) -> int:
    """Print the table, and return the number of medians above their limits."""
    before, after = checkouts[0], checkouts[-1]
    bare = found["bare", before]
    print(
        f"bare Python: {shown([each.elapsed for each in bare])} ms, processor {shown([each.cpu for each in bare])} ms"
    )
    line("command, ms over bare Python", *(["before"] if before != after else []), "now", "limit", "now / before")
    above = 0
    for case in all_cases:
        now = [each.elapsed for each in found[case.name, after]]
        is_above = case.limit_ms is not None and statistics.median(now) > case.limit_ms
        above += is_above
        limit = "-" if case.limit_ms is None else f"{case.limit_ms:.0f}{'' if case.over_bare else ' in all'}"
        cells = [shown(now), f"{limit}{' EXCEEDED' if is_above else ''}"]
        if before != after:
            past = [each.elapsed for each in found[case.name, before]]
            ratios = [mine / theirs for mine, theirs in zip(now, past, strict=True) if theirs > 0]
            cells = [shown(past), *cells, shown(ratios, 2)]
        line(case.name, *cells)
    line("the same, ms of the processor")
    for case in all_cases:
        columns = checkouts if before != after else [after]
        line(case.name, *(shown([each.cpu for each in found[case.name, checkout]]) for checkout in columns))
    return above


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another checkout, to compare with")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="runs of each command (default: 15)")
    args = parser.parse_args()
    checkouts = [*([args.before.resolve()] if args.before else []), CHECKOUT]
    silent = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2)]  # accepted by the kernel alone
    with tempfile.TemporaryDirectory() as folder, served(Engine) as engine:
        made = cases(Path(folder), engine.server_port, [each.getsockname()[1] for each in silent])
        found = measure(made, checkouts, args.rounds)
    for each in silent:
        each.close()
    return 1 if report(made, checkouts, found) else 0


if __name__ == "__main__":
    raise SystemExit(main())
