"""The commands that the kill tests interrupt: how each host looks before, and which agents may be active after."""

from collections.abc import Callable
from dataclasses import dataclass

from test_deploy import NAMES

from roundhouse.agents import start_history
from roundhouse.doctor.diagnosis import diagnose
from roundhouse.errors import RoundhouseError
from roundhouse.gateway import haproxy
from roundhouse.plan import deployed, plan_sets
from roundhouse.state import serving
from roundhouse.switch import deploy, failover, stop, transaction

ALL = (*NAMES, "qa")


def quiet(text):
    """Report nothing."""


def nothing(place):
    """Leave the host with its active agent, architect."""


def second_card(place):
    """Deploy a roster with the agent qa on a second card."""
    for unit, agent in place.host.agents.items():
        agent["conflicts"] = [name for name in agent["conflicts"] if "qa" not in (name, agent["name"])]
        assert unit.startswith("roundhouse-")
    place.deploy(place.stage("/opt/1", ALL, ["qa"]))


def later_plan(place):
    place.deploy(place.stage("/opt/2"))


def given_up(place):
    """Let systemd give architect up."""
    place.host.up.discard("roundhouse-architect.service")
    place.host.failed.add("roundhouse-architect.service")


def stale_routes(place):
    haproxy.routes_path().write_text("architect off:1\ndev on:1\n")


def switch(name):
    def work(place):
        transaction.ensure_ready(deployed.load(deployed.PATH), name, quiet, drain_seconds=0)

    return work


def stopping(name):
    def work(place):
        stop.stop(deployed.load(deployed.PATH), name, quiet, drain_seconds=0)

    return work


def staged(*words):
    """Return a function that stages a plan, as the role does before the command."""

    def prepare(place):
        place.staged = place.stage(*words)

    return prepare


def deployment(place):
    place.deploy(place.staged)


def roll_back(place):
    place.deploy(plan_sets.before(None))


def fail_over(place):
    failover.fail_over(deployed.load(deployed.PATH), "architect", quiet)


def publish(place):
    haproxy.publish_routes(deployed.load(deployed.PATH), quiet)


@dataclass(frozen=True)
class Case:
    """A command, and the sets of agents of which one must be active after each recovery."""

    work: Callable
    allowed: tuple
    prepare: Callable = nothing
    broken: tuple = ()  # units that fail to start
    changes_plan: bool = False
    in_unit: bool = False  # systemd runs it, and runs it again after a kill
    begins_as: str | None = None  # another case: the effects that both begin with are killed in that case alone

    def attempt(self, place):
        """Do the work, whether it fails or not."""
        try:
            self.work(place)
        except RoundhouseError:
            return


ARCHITECT, DEV = ["architect"], ["dev"]
CASES = {
    "switch": Case(switch("dev"), (ARCHITECT, DEV)),
    "failed switch": Case(switch("dev"), (ARCHITECT,), broken=("roundhouse-dev.service",), begins_as="switch"),
    "switch to the active agent": Case(switch("architect"), (ARCHITECT,)),
    "stop": Case(stopping(None), (ARCHITECT, [])),
    "deployment": Case(deployment, (ARCHITECT,), staged("/opt/2"), changes_plan=True),
    "failed deployment": Case(deployment, (ARCHITECT,), staged("/opt/bad"), begins_as="deployment"),
    "changed roster": Case(deployment, (ARCHITECT, DEV), staged("/opt/2", ("dev", "qa")), changes_plan=True),
    "rollback": Case(roll_back, (ARCHITECT,), later_plan, changes_plan=True),
    "failover": Case(fail_over, (ARCHITECT, DEV), given_up, ("roundhouse-architect.service",), in_unit=True),
    "routes": Case(publish, (ARCHITECT,), stale_routes),
    "switch beside a second card": Case(switch("dev"), (["architect", "qa"], ["dev", "qa"]), second_card),
    "failed switch beside a second card": Case(
        switch("dev"),
        (["architect", "qa"],),
        second_card,
        ("roundhouse-dev.service",),
        begins_as="switch beside a second card",
    ),
    "stop of one of two agents": Case(stopping("qa"), (["architect", "qa"], ARCHITECT), second_card),
}


def explain(agent, unit):
    """Return the finding of a unit that failed; the stand-in host has no journal."""
    return diagnose(agent["name"], [], result="exit-code", exit_status=1)


def without_journal(monkeypatch):
    """Let a failover find no starts in systemd's journal."""
    monkeypatch.setattr(start_history, "explain", explain)
    monkeypatch.setattr(start_history, "of", lambda unit: start_history.Past([]))


@dataclass
class Place:
    """A host whose files outlive a killed process."""

    host: object
    stage: Callable
    staged: object = None

    def deploy(self, found):
        with serving.switching(str):
            deploy.deploy(found, quiet, drain_seconds=0)
