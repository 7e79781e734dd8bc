"""The control service: starts the agents that requests wait for. `scheduler.py` decides; this observes and acts.

It also recovers from killed commands, as recovery.py decides.

A switch runs as the command, in a separate process, so the end of this service does not end it. The switch's lock
excludes a switch by hand and one of this service at the same time.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from ..agents import drain
from ..errors import RoundhouseError
from ..gateway import haproxy, on_demand
from ..gateway.scheduler import Decision, Load, Scheduler
from ..host import systemd
from ..plan import deployed
from ..schema.plan import Plan
from ..state import serving
from ..state.note import Report
from ..util.pairs import pairs
from . import daemon_socket, recovery

EVERY_SECONDS = 0.25
# The interval of the units' states while no request waits: each look costs a process.
_UNITS_SECONDS = 5.0
# The interval of looks at the gateway's routes and at what a killed command left.
_RECOVERY_SECONDS = 2.0


class Job(NamedTuple):
    """A running switch, stop, or recovery, which has no decision."""

    decision: Decision | None
    process: subprocess.Popen[str]


class Control:
    """Keep the state of the service from one round to the next."""

    def __init__(self, plan: Plan, report: Report) -> None:
        self.plan, self.report = plan, report
        self.names = [agent["name"] for agent in plan["agents"]]
        self.scheduler = Scheduler(on_demand.load(), on_demand.conflicts(plan), EVERY_SECONDS)
        self.job: Job | None = None
        self._recovery = recovery.Recovery(time.monotonic)
        self._checked = float("-inf")
        self._loaded: dict[str, float] = {}
        self._asked_units, self._first = float("-inf"), True
        self._offers: on_demand.Offers | None = None
        self._deployment = on_demand.last_deployment()

    def round(self) -> None:
        """Observe once, and begin or end a switch."""
        if self.job:
            if self.job.process.poll() is None:
                return
            self._end(self.job)
        if serving.is_switching():  # by hand, or begun before this service started
            self._asked_units = self._checked = float("-inf")
            return
        if self._recover(time.monotonic()):
            return
        loads = haproxy.read(self.names)
        if loads is None:  # the gateway does not run, so no request waits
            return
        now = time.monotonic()
        self._read_deployment()
        self._read_units(now, loads)
        self.scheduler.observe(now, self._loaded, loads)
        self._offer(now)
        decision = self.scheduler.decide(now, loads)
        if decision:
            self._begin(decision)

    def _recover(self, now: float) -> bool:
        """Complete or undo what a killed command left, and correct the gateway; return whether that has begun."""
        if now - self._checked < _RECOVERY_SECONDS:
            return False
        self._checked = now
        words = self._recovery.due(self.plan)
        if words == recovery.ROUTES:
            haproxy.publish_routes(self.plan, self.report)
        if words != recovery.RESUME:
            return False
        self.report("a command was killed before it was complete: recovering")
        self._recovery.begun()
        self.job = Job(None, daemon_socket.command(words))
        return True

    def _read_units(self, now: float, loads: dict[str, Load]) -> None:
        if now - self._asked_units < _UNITS_SECONDS and not any(load.waiting for load in loads.values()):
            return
        shown = pairs(self.names, systemd.show_all([agent["unit"] for agent in self.plan["agents"]]))
        seen = [(name, each) for name, each in shown if not isinstance(each, RoundhouseError)]
        self._loaded = {
            # The time of an agent that was loaded before this service counts from its own start.
            name: each.started_monotonic_usec / 1e6 if self._first else now
            for name, each in seen
            if each.state in drain.UP
        }
        # No switch runs now, so an agent that is ready has answered its canary.
        self.scheduler.forget_failures(name for name, each in seen if each.state == "ready")
        self._asked_units, self._first = now, False

    def _read_deployment(self) -> None:
        """Forget the failed starts after a deployment, which may have removed their cause."""
        last = on_demand.last_deployment()
        if last != self._deployment:
            self.scheduler.forget_failures(self.names)
        self._deployment = last

    def _offer(self, now: float) -> None:
        retries = {name: int(time.time() + left) for name, left in self.scheduler.retries(now).items()}
        known = self._offers.retries if self._offers else {}
        # A rounded time may differ by a second from one round to the next.
        retries = {name: known[name] if abs(known.get(name, 0) - at) <= 1 else at for name, at in retries.items()}
        offers = on_demand.Offers(self.scheduler.startable(now), retries, self.scheduler.pinned_out())
        if offers != self._offers:
            on_demand.publish(offers)
            haproxy.publish_routes(self.plan, self.report)
            self._offers = offers

    def _begin(self, decision: Decision) -> None:
        words = ["stop", decision.agent] if decision.free else [decision.agent]
        self.report(f"{'freeing the card of' if decision.free else 'starting'} {decision.agent}: {decision.why}")
        self.job = Job(decision, daemon_socket.command([*words, "--wait"]))

    def _end(self, job: Job) -> None:
        self.job, self._asked_units = None, float("-inf")
        told, _ = job.process.communicate()
        if job.process.returncode != 0:
            (error, *_) = daemon_socket.answer_of(told, job.process.returncode)["errors"]
            self.report(str(error["message"]))
            if job.decision and not job.decision.free:
                self.scheduler.failed(job.decision.agent, time.monotonic())


def serve(plan: Plan, report: Report) -> None:
    """Run rounds until SIGTERM; then publish that agents are no longer started on demand."""
    ended: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        ended.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    if plan.get("gateway_port") is None:
        raise RoundhouseError("gateway_not_deployed", "The plan has no gateway.", "Deploy with gateway_enabled: true.")
    one, begun = Control(plan, report), _stamps()
    with daemon_socket.listening() as busy:
        notify("READY=1")
        while not ended:
            if not one.job and not busy() and _stamps() != begun:
                report("the deployment changed: restarting")
                return
            one.round()
            notify("WATCHDOG=1")
            time.sleep(EVERY_SECONDS)
        on_demand.withdraw()
        haproxy.publish_routes(plan, report)


def _stamps() -> list[int]:
    """Return the modification times of the files that a deployment changes: plan, settings and command."""
    return [each.stat().st_mtime_ns for each in (deployed.PATH, on_demand.PATH, Path(sys.argv[0])) if each.exists()]


def notify(text: str) -> None:
    """Notify systemd, if it started this process."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.connect("\0" + address[1:] if address.startswith("@") else address)
        line.sendall(text.encode())
