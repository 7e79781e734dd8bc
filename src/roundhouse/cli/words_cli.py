"""The words that look and change nothing. Each imports what it needs, for speed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from ..errors import UsageError
from ..plan import deployed as plan_deployed
from ..util import console

Word = Callable[[Any, argparse.Namespace], "dict[str, Any] | None"]


def status(plan: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Show who serves."""
    from ..agents import status as agents_status

    rows = agents_status.rows(plan)
    held, switching = agents_status.memory(plan), agents_status.running_switch()
    if not args.json:
        print(agents_status.text(rows, held, switching))
    return {"agents": rows, "gpus": held, "switch": switching}


def logs(plan: Any, args: argparse.Namespace) -> dict[str, Any] | None:
    """Show an agent's log."""
    if args.agent is None:
        raise UsageError("usage", f"{args.word} wants an agent: switch.py {args.word} AGENT.")
    agent = plan_deployed.find(plan, args.agent)
    if args.lines < 0 or (args.json and args.follow):
        raise UsageError("usage", "logs takes -n with a number from 0, and -f only without --json.")
    from ..host import journal

    if args.json:
        return {"agent": agent["name"], "lines": journal.log(agent["unit"], args.lines)}
    journal.print_log(agent["unit"], args.lines, follow=args.follow)
    return None


def gpu(plan: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Show each card."""
    from ..agents import gpu_usage

    found = gpu_usage.cards()
    if not args.json:
        print(gpu_usage.text(found))
    return {"gpus": found}


def doctor(args: argparse.Namespace) -> dict[str, Any]:
    """Show what is wrong with the driver, the host and the agents, and the cures."""
    from ..checkup import checkup
    from ..host import driver as host_driver
    from ..host import gpu as host_gpu

    rows, facts = host_driver.rows(), host_gpu.facts()
    deployed = plan_deployed.load() if plan_deployed.PATH.exists() else None
    driver = None if (deployed or {}).get("accelerator") == "cpu" else checkup.of_driver(rows, facts)
    found = checkup.examine(deployed, driver, facts=facts)
    if not args.json:
        print("\n\n".join([host_driver.text(rows), checkup.text(found)]))
    stages = ["driver" if each is driver else each.cause for each in found]
    errors = [
        {"code": stage, "message": f"{each.sentence} {each.cure}"} for stage, each in zip(stages, found, strict=True)
    ]
    findings = [each._asdict() for each in found]
    return {"ok": not found, "errors": errors, "checks": rows, "findings": findings}


def watch(plan: Any, args: argparse.Namespace) -> None:
    """Show it as it goes on."""
    from ..agents import watch as agents_watch

    if not 0 < args.every < float("inf"):
        raise UsageError("usage", f"--every is {args.every:g}: write seconds above 0, such as 2.")
    if args.rounds is not None and args.rounds < 1:
        raise UsageError("usage", f"--rounds is {args.rounds}: write a number from 1, or leave it out.")
    try:
        agents_watch.watch(plan, args.every, args.rounds, lambda text: print(text, flush=True))
    except KeyboardInterrupt:  # how a watch ends
        return


def history(plan: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Show the switches so far."""
    from ..state import history as state_history

    if args.lines < 0:
        raise UsageError("usage", f"history takes -n with a number from 0, not {args.lines}.")
    entries = state_history.load()[-args.lines :] if args.lines > 0 else []
    if not args.json:
        print(console.table(state_history.COLUMNS, state_history.table(entries)))
    return {"switches": [entry._asdict() for entry in entries]}


def manual(parser: argparse.ArgumentParser, what: str | None, *, as_json: bool) -> dict[str, Any]:
    """Show the help, the manual page or the shell's completion; with --json the same text as `text`."""
    from . import manual as cli_manual

    if what not in (None, *cli_manual.PAGES):
        raise UsageError("usage", f"help has no {what!r}: write help, help man or help completion.")
    if what == "completion":
        text = cli_manual.completion(parser, str(plan_deployed.PATH))
    else:
        text = cli_manual.page(parser) if what else console.help_text(parser)
    if not as_json:
        print(text, end="")
    return {"text": text}


WORDS: dict[str, Word] = {
    "status": status,
    "logs": logs,
    "gpu": gpu,
    "watch": watch,
    "history": history,
}
