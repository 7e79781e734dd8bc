"""The words that look and change nothing. Each imports what it needs, for speed."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable
from typing import Any

from . import output
from . import plan as plans
from .errors import RoundhouseError, UsageError

Word = Callable[[dict[str, Any], argparse.Namespace], "dict[str, Any] | None"]


def status(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Show who serves."""
    from . import status as seen

    rows = seen.rows(plan)
    held, switching = seen.memory(plan), seen.running_switch()
    if not args.json:
        print(seen.text(rows, held, switching))
    return {"agents": rows, "gpus": held, "switch": switching}


def logs(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any] | None:
    """Show an agent's log."""
    if args.agent is None:
        raise UsageError("usage", f"{args.word} wants an agent: switch.py {args.word} AGENT.")
    agent = plans.find(plan, args.agent)
    if args.lines < 0 or (args.json and args.follow):
        raise UsageError("usage", "logs takes -n with a number from 0, and -f only without --json.")
    if args.json:
        from . import units

        return {"agent": agent["name"], "lines": units.log(agent["unit"], args.lines)}
    command = ["journalctl", "--unit", agent["unit"], "--lines", str(args.lines), "--no-pager"]
    if subprocess.run([*command, "--follow"] if args.follow else command, check=False).returncode != 0:
        raise RoundhouseError("logs", "journalctl failed, see its own words above: run this as root.")
    return None


def gpu(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Show each card."""
    from . import gpu_live

    found = gpu_live.cards()
    if not args.json:
        print(gpu_live.text(found))
    return {"gpus": found}


def doctor(args: argparse.Namespace) -> dict[str, Any]:
    """Show what is wrong with the driver, the host and the agents, and the cures."""
    from . import checkup
    from . import doctor as host
    from . import gpu as cards

    rows, facts = host.rows(), cards.facts()
    deployed = plans.load() if plans.PATH.exists() else None
    driver = None if (deployed or {}).get("accelerator") == "cpu" else checkup.of_driver(rows, facts)
    found = checkup.examine(deployed, driver, facts=facts)
    if not args.json:
        print("\n\n".join([host.text(rows), checkup.text(found)]))
    stages = ["driver" if each is driver else each.cause for each in found]
    errors = [
        {"stage": stage, "message": f"{each.sentence} {each.cure}"} for stage, each in zip(stages, found, strict=True)
    ]
    findings = [each._asdict() for each in found]
    return {"ok": not found, "errors": errors, "checks": rows, "findings": findings}


def watch(plan: dict[str, Any], args: argparse.Namespace) -> None:
    """Show it as it goes on."""
    from . import watch as live

    if not 0 < args.every < float("inf"):
        raise UsageError("usage", f"--every is {args.every:g}: write seconds above 0, such as 2.")
    if args.rounds is not None and args.rounds < 1:
        raise UsageError("usage", f"--rounds is {args.rounds}: write a number from 1, or leave it out.")
    try:
        live.watch(plan, args.every, args.rounds, lambda text: print(text, flush=True))
    except KeyboardInterrupt:  # how a watch ends
        return


def history(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Show the switches so far."""
    from . import history as kept

    if args.lines < 0:
        raise UsageError("usage", f"history takes -n with a number from 0, not {args.lines}.")
    entries = kept.load()[-args.lines :] if args.lines > 0 else []
    if not args.json:
        print(output.table(kept.COLUMNS, kept.table(entries)))
    return {"switches": [entry._asdict() for entry in entries]}


def manual(parser: argparse.ArgumentParser, what: str | None, *, as_json: bool) -> dict[str, Any]:
    """Show the help, the manual page or the shell's completion; with --json the same text as `text`."""
    from . import manual as made

    if what not in (None, *made.PAGES):
        raise UsageError("usage", f"help has no {what!r}: write help, help man or help completion.")
    if what == "completion":
        text = made.completion(parser, str(plans.PATH))
    else:
        text = made.page(parser) if what else output.help_text(parser)
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
