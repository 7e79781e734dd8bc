"""On demand: simulate ten minutes of requests, and compare waits and switches with the bounds of the settings."""

import itertools
import random
from collections import deque
from typing import NamedTuple

import promises
import pytest

from roundhouse.gateway.scheduler import Load, Scheduler, Settings, longest_wait_seconds

TICK = 0.25
SECONDS = 600
SWITCH_SECONDS = 12.0  # drain, start and canary
IN_USE_SECONDS = 5.0
RULES = Settings(IN_USE_SECONDS, 60, 120, 0, (), ())


class Request(NamedTuple):
    """One request: its agent, its arrival and its duration in seconds."""

    agent: str
    came: float
    takes: float


class Card:
    """Simulate a card, its agents and their clients. Running requests may end before a switch does."""

    def __init__(self, rules, names, requests, loaded):
        self.scheduler = Scheduler(rules, {name: [each for each in names if each != name] for name in names}, TICK)
        self.names, self.coming = names, deque(sorted(requests, key=lambda each: each.came))
        self.loaded, self.ready = {loaded: 0.0} if loaded else {}, {}
        self.kept = {name: [] for name in names}
        self.ends = {name: [] for name in names}
        self.total = dict.fromkeys(names, 0)
        self.waits, self.switches, self.events = [], [], []
        self.broken = set()

    def run(self, seconds=SECONDS):
        now = 0.0
        while now < seconds:
            self.step(now)
            now += TICK
        return self

    def step(self, now):
        for name, at in list(self.ready.items()):
            if now >= at:
                del self.ready[name]
                self.loaded = {name: now}
        while self.coming and self.coming[0].came <= now:
            request = self.coming.popleft()
            self.kept[request.agent].append(request)
        for name in self.loaded:
            for request in self.kept[name]:
                self.waits.append((now - request.came, request.agent))
                self.ends[name].append(now + request.takes)
                self.total[name] += 1
            self.kept[name] = []
            self.ends[name] = [each for each in self.ends[name] if each > now]
        if self.ready:  # a switch runs
            return
        loads = {
            name: Load(
                len(self.kept[name]),
                max((now - each.came for each in self.kept[name]), default=0.0),
                len(self.ends[name]),
                self.total[name],
            )
            for name in self.names
        }
        self.scheduler.observe(now, self.loaded, loads)
        decision = self.scheduler.decide(now, loads)
        if decision is None:
            return
        self.events.append((now, decision))
        if decision.free:
            self.loaded = {}
        elif decision.agent in self.broken:
            self.scheduler.failed(decision.agent, now)
        else:
            self.switches.append(now)
            self.loaded, self.ready = {}, {decision.agent: now + SWITCH_SECONDS}


def in_turn(names, every, takes=0.5):
    return [Request(names[at % len(names)], at * every, takes) for at in range(int(SECONDS / every))]


def many_requests(names, count):
    choice = random.Random(7)
    return [Request(choice.choice(names), choice.random() * SECONDS, 8 * choice.random()) for _ in range(count)]


CASES = {
    "two in turn": (["dev", "po"], in_turn(["dev", "po"], 1.0)),
    "two in turn, seldom": (["dev", "po"], in_turn(["dev", "po"], 20.0)),
    "many requests for two": (["dev", "po"], many_requests(["dev", "po"], 5000)),
    "many requests for three": (["dev", "po", "architect"], many_requests(["dev", "po", "architect"], 5000)),
    "one works on, one asks once": (["dev", "po"], [*in_turn(["dev"], 0.5, 30), Request("po", 61.0, 1)]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("least", "most"), [(60, 120), (5, 30), (6, 12)])
def test_ten_minutes_keep_what_the_settings_promise(case, least, most, record_property):
    rules = RULES._replace(min_active_seconds=least, max_wait_seconds=most)
    names, requests = CASES[case]
    card = Card(rules, names, requests, names[0]).run()
    bound = promises.most_switches(rules, SECONDS)
    longest = longest_wait_seconds(rules, len(names), SWITCH_SECONDS)
    told = f"{len(card.switches)} switches of {bound}, longest wait {max(card.waits)[0]:.1f} s of {longest:.1f}"
    record_property("outcome", told)
    assert len(card.switches) <= bound
    assert max(card.waits)[0] <= longest
    assert {agent for _, agent in card.waits} == set(names)
    # The requests that still wait at the end have not waited longer either.
    assert all(SECONDS - each.came <= longest for kept in card.kept.values() for each in kept)
    gaps = [later - sooner for sooner, later in zip(card.switches, card.switches[1:], strict=False)]
    assert all(gap >= min(rules.min_active_seconds, IN_USE_SECONDS) + SWITCH_SECONDS for gap in gaps)


def test_an_idle_agent_stops_at_once():
    card = Card(RULES, ["dev", "po"], [Request("po", 10.0, 1)], "dev").run(100)
    assert card.switches == [10.0]


def test_an_agent_that_was_just_loaded_counts_as_in_use():
    card = Card(RULES, ["dev", "po"], [Request("po", 1.0, 1)], "dev").run(100)
    assert card.switches == [IN_USE_SECONDS]


def test_an_agent_is_in_use_for_some_seconds_after_its_last_request():
    card = Card(RULES, ["dev", "po"], [Request("dev", 20.0, 10), Request("po", 25.0, 1)], "dev").run(100)
    assert card.switches == [pytest.approx(30 + IN_USE_SECONDS, abs=2 * TICK)]


def tool_loop(agent, begins, pause, answers=0.5):
    """Return the requests of an agentic client: an answer, a tool that takes `pause` seconds, the next request."""
    times = [begins + turn * (answers + pause) for turn in range(int((SECONDS - begins) / (answers + pause)))]
    return [Request(agent, at, answers) for at in times]


def test_two_tool_loops_do_not_move_the_card_at_every_step():
    requests = [*tool_loop("dev", 0.0, 2.0), *tool_loop("po", 10.0, 2.0)]
    card = Card(RULES, ["dev", "po"], requests, "dev").run()
    # Each keeps the card until the other has waited its longest.
    assert card.switches[0] == pytest.approx(130.0, abs=2 * TICK)
    assert len(card.switches) <= 1 + SECONDS // RULES.max_wait_seconds


def test_a_long_tool_call_releases_the_card():
    card = Card(RULES, ["dev", "po"], [*tool_loop("dev", 0.0, 30.0), Request("po", 10.0, 1)], "dev").run(120)
    assert card.switches[0] == pytest.approx(10.0, abs=2 * TICK)


def test_a_busy_agent_stops_when_another_has_waited_its_longest():
    card = Card(RULES, ["dev", "po"], [*in_turn(["dev"], 0.5, 5), Request("po", 10.0, 1)], "dev").run(200)
    assert card.switches[0] == pytest.approx(130.0, abs=TICK)


def test_an_empty_card_is_given_at_once():
    card = Card(RULES, ["dev", "po"], [Request("po", 10.0, 1)], None).run(40)
    assert card.switches == [10.0]


def test_a_pinned_agent_stays():
    card = Card(RULES._replace(pinned=("dev",), idle_seconds=10), ["dev", "po"], [Request("po", 1.0, 1)], "dev").run()
    assert card.events == []
    assert (card.scheduler.startable(SECONDS), card.scheduler.pinned_out()) == (["dev"], ["po"])


def broken_card():
    """Return a card whose agent po does not start, and a client that repeats its request for po."""
    card = Card(RULES, ["dev", "po"], [Request("po", float(at), 1) for at in range(1, 4 * 3600, 30)], "dev")
    card.broken = {"po"}
    return card


def test_the_wait_before_a_failed_agent_is_tried_again_doubles_up_to_an_hour():
    card = broken_card().run(4 * 3600)
    times = [at for at, decision in card.events if decision.agent == "po"]
    waits = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert (times[0], waits) == (5.0, [60, 120, 240, 480, 960, 1920, 3600, 3600])


def test_the_time_of_the_next_try_is_the_remaining_time():
    card = broken_card().run(200)  # tries at 5, 65 and 185 s
    assert card.scheduler.startable(186.0) == ["dev"]
    assert card.scheduler.retries(186.0) == {"po": 239.0}
    assert card.scheduler.retries(424.0) == {"po": 1.0}
    assert (card.scheduler.retries(425.0), card.scheduler.startable(425.0)) == ({}, ["dev", "po"])


def test_a_failed_agent_that_was_ready_waits_the_shortest_time_again():
    card = broken_card().run(200)
    card.scheduler.forget_failures(["dev"])
    assert card.scheduler.retries(200.0) == {"po": 225.0}
    card.scheduler.forget_failures(["po"])
    assert (card.scheduler.retries(200.0), card.scheduler.startable(200.0)) == ({}, ["dev", "po"])
    card.scheduler.failed("po", 201.0)
    assert card.scheduler.retries(201.0) == {"po": 60.0}


def test_the_longest_wait_stays_an_hour_after_any_number_of_failures():
    scheduler = Scheduler(RULES, {"dev": ["po"], "po": ["dev"]}, TICK)
    for _ in range(5000):
        scheduler.failed("po", 0.0)
    assert scheduler.retries(0.0) == {"po": 3600.0}


def test_an_agent_that_cannot_start_costs_no_more_switches_than_are_promised():
    rules = RULES._replace(min_active_seconds=300)
    card = Card(rules, ["dev", "po"], [Request("po", float(at), 1) for at in range(1, 900, 5)], "dev")
    card.broken = {"po"}
    card.run(900)
    assert 1 < len(card.events) <= promises.most_switches(rules, 900)


@pytest.mark.parametrize(("default", "agent", "free"), [(("dev",), "dev", False), ((), "po", True)])
def test_after_idling_the_default_agent_starts_or_the_card_is_freed(default, agent, free):
    rules = RULES._replace(idle_seconds=90, default_agents=default)
    card = Card(rules, ["dev", "po"], [Request("po", 0.0, 1)], None).run(300)
    (_, (at, decision)) = card.events
    assert (decision.agent, decision.free) == (agent, free)
    assert at == pytest.approx(SWITCH_SECONDS + 90, abs=2)


def test_on_two_cards_no_request_overtakes_one_for_both():
    conflicts = {"large": ["one", "two", "more"], "one": ["large", "more"], "more": ["large", "one"], "two": ["large"]}
    made = Scheduler(RULES, conflicts, TICK)
    loads = {"large": Load(1, 50.0), "more": Load(1, 20.0), "one": Load(), "two": Load()}
    made.observe(100.0, {"one": 0.0, "two": 70.0}, loads)
    made.observe(101.0, {"one": 0.0, "two": 70.0}, loads | {"two": Load(running=1)})
    assert made.decide(101.0, loads) is None  # `two` is in use; `more` would overtake `large`
    assert made.decide(106.0, loads).agent == "large"
