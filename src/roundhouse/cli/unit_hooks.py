"""The words that systemd calls for an agent or the gateway: not for people, so not in the help.

An error of theirs ends in a log: its line ends with the error's [code], by which doctor knows it.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
from typing import Any

from ..doctor.cause import as_line
from ..errors import RoundhouseError
from ..plan import deployed
from ..schema.plan import Plan
from ..util import console
from .command import Word

_INTERRUPTED = 130


def ready(plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Wait until the agent's engine is healthy."""
    from ..agents import start

    main_pid = os.environ.get("MAINPID")  # systemd sets it for an ExecStartPost
    agent = deployed.find(plan, args.agent)
    start.wait_until_healthy(plan, agent, int(main_pid) if main_pid else None, console.progress())
    return {"agent": agent["name"]}


def clear(plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Remove what blocks the container that systemd is about to start."""
    from ..agents import containers

    names = containers.clear(deployed.find(plan, args.agent))
    if names and not args.json:
        print(f"removed, left by an engine that was lost: {', '.join(names)}")
    return {"agent": args.agent, "cleared": names}


def watchdog(plan: Plan, args: argparse.Namespace) -> None:
    """Run the watchdog of the agent's engine until systemd ends this."""
    from ..agents import watchdog as agents_watchdog

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # its end is no interrupted work
    agents_watchdog.run(plan, args.agent, console.lines())


def failover(plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Start another agent in the place of one that was given up."""
    from ..switch import failover as switch_failover

    return {**switch_failover.fail_over(plan, args.agent, console.lines())}


def routes(plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Write what the gateway reads when it starts: the routes, and its configuration with the deployed agents.

    With a template, a new haproxy.cfg.in, only check that HAProxy accepts it.
    """
    from ..gateway import haproxy, haproxy_config
    from ..state import serving

    serving.make_folder()
    haproxy.publish_routes(plan, console.progress())
    if args.template:
        haproxy_config.check(haproxy_config.render(args.template.read_text(), plan))
    else:
        haproxy_config.write(plan)
    return {"routes": haproxy.routes(plan)}


def control(plan: Plan, args: argparse.Namespace) -> None:
    """Start the agents that requests wait for until systemd ends this."""
    from ..switch import daemon

    daemon.serve(plan, console.lines())


def _logged(word: Word) -> Word:
    """Return the word with its error as a line of the log, where no object is asked for."""

    @functools.wraps(word)
    def run(plan: Plan, args: argparse.Namespace) -> dict[str, Any] | None:
        try:
            return word(plan, args)
        except RoundhouseError as error:
            failure, status = error, error.exit_code
        except KeyboardInterrupt:
            failure, status = RoundhouseError("interrupted", "interrupted."), _INTERRUPTED
        if args.json:
            raise failure
        console.lines()(as_line(failure))
        raise SystemExit(status)

    return run


WORDS: dict[str, Word] = {word.__name__: _logged(word) for word in (clear, control, failover, ready, routes, watchdog)}
