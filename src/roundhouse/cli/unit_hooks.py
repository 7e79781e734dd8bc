"""The words that systemd says for an agent or the gateway: not for people, so not in the help."""

from __future__ import annotations

import argparse
import os
import signal
from typing import Any

from ..errors import UsageError
from ..plan import deployed
from ..util import console
from .words_cli import Word


def ready(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Wait until the agent's engine is healthy."""
    from ..agents import start

    main_pid = os.environ.get("MAINPID")  # systemd sets it for an ExecStartPost
    agent = deployed.find(plan, _agent(args))
    start.wait_until_healthy(plan, agent, int(main_pid) if main_pid else None, console.progress())
    return {"agent": agent["name"]}


def clear(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Take away what is in the way of the container that systemd is about to start."""
    from ..agents import containers

    names = containers.clear(deployed.find(plan, _agent(args)))
    if names and not args.json:
        print(f"taken away, left by an engine that was lost: {', '.join(names)}")
    return {"agent": args.agent, "cleared": names}


def guard(plan: dict[str, Any], args: argparse.Namespace) -> None:
    """Look after the agent's engine until systemd ends this."""
    from ..agents import watchdog

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # its end is no interrupted work
    watchdog.guard(plan, _agent(args), console.lines())


def relieve(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Bring somebody else in the place of the agent, which was given up."""
    from ..switch import failover

    return failover.relieve(plan, _agent(args), console.lines())


def track(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Tell the gateway, before it starts, who serves."""
    from ..gateway import haproxy
    from ..state import serving

    serving.make_folder()
    haproxy.follow(plan, console.progress())
    return {"track": haproxy.track(plan)}


def control(plan: dict[str, Any], args: argparse.Namespace) -> None:
    """Bring the agents that requests wait for until systemd ends this."""
    from ..switch import daemon

    daemon.serve(plan, console.lines())


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
