"""The words that change who serves. Each imports what it needs, for speed."""

from __future__ import annotations

import argparse
import math
from typing import Any

from ..errors import UsageError
from ..plan import deployed
from ..util import console
from .words_cli import Word


def switch(plan: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Put an agent on its card."""
    from ..switch import daemon_socket, transaction

    check_drain(args)
    report = console.progress()
    words = [args.word, "--drain", f"{args.drain:g}", *(["--wait"] if args.wait else [])]
    result = daemon_socket.ask(words, report) or transaction.ensure_ready(
        plan, args.word, report, drain_seconds=args.drain, wait=args.wait
    )
    if not args.json:
        seconds = ", ".join(f"{stage} {value} s" for stage, value in result["stages"].items())
        cut = f"; {result['cut']} requests were cut" if result["cut"] else ""
        print(f"{result['agent']} serves on port {deployed.find(plan, args.word)['port']} ({seconds}{cut})")
    return {**result}


def resume(plan: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Bring back who served last."""
    from ..switch import resume as switch_resume

    report = console.progress()
    result = {"serving": switch_resume.start_only(plan, report)} if args.no_wait else switch_resume.resume(plan, report)
    if not args.json:
        print(f"{'starting' if args.no_wait else 'serving'}: {', '.join(result['serving'])}")
    return {**result}


def stop(plan: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Take who serves off the card."""
    from ..switch import stop as switch_stop

    check_drain(args)
    result = switch_stop.stop(plan, args.agent, console.progress(), drain_seconds=args.drain, wait=args.wait)
    if not args.json:
        print(switch_stop.text(result))
    return {**result}


def check_drain(args: argparse.Namespace) -> None:
    """Raise UsageError for seconds that cannot be meant."""
    if not 0 <= args.drain < math.inf:
        raise UsageError("usage", f"--drain is {args.drain:g}: write seconds, such as 30, or 0 to wait for no request.")


# An agent's name is the word for a switch to it, so `switch` itself is not among them.
WORDS: dict[str, Word] = {
    "resume": resume,
    "stop": stop,
}
