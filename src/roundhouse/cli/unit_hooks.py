"""The commands that systemd runs for an agent or the gateway; they are not in the help.

Their errors go to a log. Each line ends with the error's [code], which doctor matches.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..doctor.cause import as_line
from ..errors import RoundhouseError
from ..host import systemd
from ..plan import deployed
from ..state.note import Report
from ..util import console
from .command import Word

if TYPE_CHECKING:
    from ..schema.plan import Plan


_INTERRUPTED = 130
_RECOVERY_UNIT = "roundhouse-recovery.service"


def ready(plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Wait until the agent's engine is healthy."""
    from ..agents import start

    main_pid = os.environ.get("MAINPID")  # systemd sets it for an ExecStartPost
    agent = deployed.find(plan, args.agent)
    start.wait_until_healthy(plan, agent, int(main_pid) if main_pid else None, console.progress())
    return {"agent": agent["name"]}


def clear(plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Remove containers that block the one that systemd is about to start."""
    from ..agents import containers

    names = containers.clear(deployed.find(plan, args.agent))
    if names and not args.json:
        print(f"removed containers of a crashed engine: {', '.join(names)}")
    return {"agent": args.agent, "cleared": names}


def ended(plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Record the end of the agent's engine in the history, unless someone asked for it."""
    from ..agents import engine_end

    entry = engine_end.record(plan, args.agent, os.environ)  # with what systemd sets for an ExecStopPost
    return {"agent": args.agent, "crash": entry.as_json() if entry else None}


def watchdog(plan: Plan, args: argparse.Namespace) -> None:
    """Run the watchdog of the agent's engine until systemd stops it."""
    from ..agents import watchdog as agents_watchdog

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # its end interrupts no work
    report = console.lines()
    agents_watchdog.run(plan, args.agent, report, _recoverer(report))


def _recoverer(report: Report) -> Callable[[], None]:
    """Return a function that starts the recovery from a killed command, if it is due, apart from the watchdog.

    The recovery may restart the agent, which ends the watchdog and all processes of its unit.
    """
    from ..switch import recovery

    observed = recovery.Recovery()

    def recover() -> None:
        try:
            if words := observed.due(deployed.load()):
                observed.begun()
                report(f"a command was killed before it was complete: running `roundhouse {' '.join(words)}`")
                systemd.run_apart(_RECOVERY_UNIT, [sys.argv[0], *words])
        except RoundhouseError as error:  # no reason to stop watching the engine
            report(as_line(error))

    return recover


def recover(plan: Plan, args: argparse.Namespace) -> None:
    """Wait for the end of a switch or a deployment, and complete or undo it if it was killed."""
    from ..switch import recovery

    recovery.run(console.lines())


def failover(plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Start another agent in place of one that systemd no longer restarts."""
    from ..switch import failover as switch_failover

    return {**switch_failover.fail_over(plan, args.agent, console.lines())}


def routes(plan: Plan, args: argparse.Namespace) -> dict[str, Any]:
    """Write what the gateway reads when it starts: the routes, and its configuration with the deployed agents.

    With a template, a new haproxy.cfg.in, only check that HAProxy accepts it.
    """
    from ..gateway import announced, haproxy, haproxy_config
    from ..state import serving

    serving.make_folder()
    haproxy.publish_routes(plan, console.progress())
    if args.template:
        haproxy_config.check(haproxy_config.render(args.template.read_text(), plan))
    else:
        haproxy_config.write(plan)
    return {"routes": announced.routes(plan)}


def control(plan: Plan, args: argparse.Namespace) -> None:
    """Start agents on request until systemd stops it."""
    from ..switch import daemon

    daemon.serve(plan, console.lines())


def _logged(word: Word) -> Word:
    """Return the command with its error as a line of the log, unless --json asks for an object."""

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


_WORDS = (clear, control, ended, failover, ready, recover, routes, watchdog)
WORDS: dict[str, Word] = {word.__name__: _logged(word) for word in _WORDS}
