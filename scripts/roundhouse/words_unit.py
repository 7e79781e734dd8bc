"""The words that systemd says for an agent or the gateway: not for people, so not in the help."""

from __future__ import annotations

import argparse
import os
import signal
from typing import Any

from . import output
from . import plan as plans
from .errors import UsageError
from .words_cli import Word


def ready(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Wait until the agent's engine is healthy."""
    from . import ready as waiting

    main_pid = os.environ.get("MAINPID")  # systemd sets it for an ExecStartPost
    agent = plans.find(plan, _agent(args))
    waiting.wait_until_healthy(plan, agent, int(main_pid) if main_pid else None, output.progress())
    return {"agent": agent["name"]}


def clear(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Take away what is in the way of the container that systemd is about to start."""
    from . import containers

    names = containers.clear(plans.find(plan, _agent(args)))
    if names and not args.json:
        print(f"taken away, left by an engine that was lost: {', '.join(names)}")
    return {"agent": args.agent, "cleared": names}


def guard(plan: dict[str, Any], args: argparse.Namespace) -> None:
    """Look after the agent's engine until systemd ends this."""
    from . import guard as guarding

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # its end is no interrupted work
    guarding.guard(plan, _agent(args), output.lines())


def relieve(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Bring somebody else in the place of the agent, which was given up."""
    from . import relief

    return relief.relieve(plan, _agent(args), output.lines())


def track(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Tell the gateway, before it starts, who serves."""
    from . import gateway, state

    state.make_folder()
    gateway.follow(plan, output.progress())
    return {"track": gateway.track(plan)}


def control(plan: dict[str, Any], args: argparse.Namespace) -> None:
    """Bring the agents that requests wait for until systemd ends this."""
    from . import control as service

    service.serve(plan, output.lines())


def _agent(args: argparse.Namespace) -> str:
    if args.agent is None:
        raise UsageError("usage", f"{args.word} wants an agent: switch.py {args.word} AGENT.")
    return str(args.agent)


WORDS: dict[str, Word] = {
    "clear": clear,
    "control": control,
    "ready": ready,
    "guard": guard,
    "relieve": relieve,
    "track": track,
}
