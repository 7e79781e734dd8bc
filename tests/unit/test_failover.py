"""The agent that failover starts after systemd gave up another one."""

from roundhouse.state import history
from roundhouse.state.history import DONE, FAILED_OVER, REFUSED, ROLLBACK_FAILED, ROLLED_BACK, Entry
from roundhouse.switch import failover

NAMES = ("architect", "dev", "po")
AGENTS = [{"name": name, "conflicts": [other for other in NAMES if other != name]} for name in NAMES]
PLAN = {"agents": [*AGENTS, {"name": "elsewhere", "conflicts": []}]}


def entry(outcome, previous, to):
    return Entry(0.0, previous, to, outcome, {}, 0, None)


def order(name, *entries):
    agent = next(each for each in AGENTS if each["name"] == name)
    return [each["name"] for each in failover.candidates(PLAN, agent, list(entries))]


def test_without_a_history_the_rosters_others_of_that_card():
    assert order("dev") == ["architect", "po"]


def test_earlier_active_agents_come_first_the_last_of_all_at_the_head():
    switches = (entry(DONE, [], "po"), entry(DONE, ["po"], "architect"), entry(DONE, ["architect"], "dev"))
    assert order("dev", *switches) == ["architect", "po"]
    assert order("dev", entry(DONE, ["architect"], "po"), entry(DONE, ["po"], "dev")) == ["po", "architect"]


def test_an_agent_restored_by_a_rollback_served_too():
    assert order("dev", entry(ROLLED_BACK, ["po"], "architect"), entry(DONE, [], "dev")) == ["po", "architect"]


def test_a_failed_or_refused_switch_does_not_make_its_agent_a_candidate():
    assert order("dev", entry(ROLLBACK_FAILED, [], "po"), entry(REFUSED, [], "po")) == ["architect", "po"]


def test_an_agent_that_was_given_up_is_excluded_until_a_switch_to_it():
    given_up = (
        entry(DONE, ["architect"], "dev"),
        entry(FAILED_OVER, ["dev"], "architect"),
        entry(DONE, [], "architect"),
    )
    assert order("architect", *given_up) == ["po"]
    assert order("architect", *given_up, entry(DONE, ["architect"], "dev"), entry(DONE, ["dev"], "architect")) == [
        "dev",
        "po",
    ]


def test_without_a_candidate_the_order_is_empty():
    both = (entry(FAILED_OVER, ["dev"], "architect"), entry(FAILED_OVER, ["architect"], "po"))
    assert order("po", *both) == []


def test_the_history_shows_a_failover():
    (row,) = history.table([entry(FAILED_OVER, ["dev"], "architect")._replace(cause="dev has no memory")])
    assert (row["from"], row["to"], row["outcome"], row["cause"]) == (
        "dev",
        "architect",
        "failed over",
        "dev has no memory",
    )


def test_the_former_words_of_the_file_are_read_as_todays(monkeypatch, tmp_path):
    monkeypatch.setattr(history.serving, "FOLDER", tmp_path)
    for word in ("back", "lost", "relieved", "done"):
        history.add(entry(word, ["dev"], "architect"))
    assert [each.outcome for each in history.load()] == ["rolled_back", "rollback_failed", "failed_over", "done"]
