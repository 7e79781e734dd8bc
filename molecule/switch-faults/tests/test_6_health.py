"""A hanging engine is restarted, an engine that keeps failing frees the card, and healthy engines are left alone."""

import re
import time

import pytest
from conftest import AGENTS, AT_ONCE

LONGER_SECONDS = 14  # Longer than the watchdog waits for an engine, 10 s.
LOOKS = 12  # Checks of an engine that reads a prompt; the watchdog stops it after four without a new number.


def main_pid(table, agent):
    return table.host.check_output("systemctl show --property MainPID --value roundhouse-%s", agent)


def property_of(table, agent, name):
    return table.host.check_output("systemctl show --property %s --value roundhouse-%s", name, agent)


def said_by(table, unit, since):
    return table.host.check_output("journalctl --quiet --output cat --unit %s --since %s", unit, f"@{since}")


def frequent_checks(table, **limits):
    """Make the watchdog check twice per second instead of every 30 s, only in this case."""
    table.limit_unit("architect", *AT_ONCE)
    table.limit(*AGENTS, watchdog_every_seconds=0.5, **limits)
    table.cleanup.append("systemctl try-restart 'roundhouse-watchdog@*'")
    table.restart("architect", "")
    table.since = table.host.check_output("date +%s")
    return table


@pytest.fixture
def fast(table):
    """Make the watchdog wait for 3 s instead of 10 s, because the engine of the case hangs."""
    return frequent_checks(table, watchdog_limit_seconds=3)


@pytest.fixture
def usual(table):
    """Let the watchdog wait as long as on a real host, because a slow machine is not a hung engine."""
    return frequent_checks(table)


def serves_again(table, agent, pid):
    """Wait until the agent's unit is ready with a new engine, and print the time that it took."""
    begun = time.monotonic()
    changed = f'test "$(systemctl show --property MainPID --value roundhouse-{agent})" != {pid}'
    table.until(f"{changed} && systemctl --quiet is-active roundhouse-{agent}")
    table.said = f"{agent} served again after {time.monotonic() - begun:.0f} s"


def test_a_stopped_engine_process_is_restarted(fast):
    pid = main_pid(fast, "architect")
    fast.host.check_output("kill -STOP %s", pid)
    serves_again(fast, "architect", pid)
    assert "architect hangs: killing its engine" in said_by(fast, "roundhouse-watchdog@architect", fast.since)
    assert property_of(fast, "architect", "NRestarts") == "1"
    assert (fast.history()["outcome"], fast.history()["cause_code"]) == ("crashed", "engine_hangs")


def test_a_crash_is_in_status_history_and_doctor(table):
    table.limit_unit("architect", *AT_ONCE)
    pid = main_pid(table, "architect")
    table.host.check_output("systemctl kill --signal=SIGKILL roundhouse-architect")
    serves_again(table, "architect", pid)
    entry = table.history()
    assert (entry["outcome"], entry["to"], entry["code"]) == ("crashed", "architect", "engine_crashed")
    assert entry["cause"].startswith("SIGKILL ended it")
    assert entry["stages"]["restart"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry["began"])
    (row,) = [row for row in table.ask("status")["agents"] if row["agent"] == "architect"]
    assert (row["crash"]["at"], row["crash"]["count"]) == (entry["began"], 1)
    assert row["crash"]["restart_seconds"] == entry["stages"]["restart"]
    answer = table.ask("doctor")
    (finding,) = [each for each in answer["findings"] if each["code"] == "engine_crashed"]
    assert (answer["ok"], finding["agent"], finding["evidence"]) == (False, "architect", entry["cause"])


def test_an_engine_with_a_stopped_core_is_restarted(fast):
    fast.restart("architect", f"--core-stopped-while {fast.gate}")
    fast.fault("architect", "")
    pid = main_pid(fast, "architect")
    fast.close_gate()
    assert fast.host.check_output("python3 -c %s", health()) == "200"
    serves_again(fast, "architect", pid)


def health():
    return "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/health').status)"


def test_an_engine_with_a_long_prompt_is_not_killed(usual):
    usual.restart("architect", f"--read-looks {LOOKS}")
    usual.fault("architect", "")
    pid = main_pid(usual, "architect")
    usual.request("architect", 10, "go on " * 100)
    usual.until("! systemctl --quiet is-active lab-client")
    assert main_pid(usual, "architect") == pid
    # One check was the command's, which saw the running request. All others were the watchdog's.
    assert f"read in {LOOKS} steps" in said_by(usual, "roundhouse-architect", usual.since)
    assert "hangs: killing" not in said_by(usual, "roundhouse-watchdog@architect", usual.since)


def test_an_engine_with_a_long_load_is_not_killed(usual):
    usual.fault("architect", f"--load-seconds {LONGER_SECONDS}")
    usual.host.check_output("systemctl restart roundhouse-architect")
    usual.fault("architect", "")
    assert property_of(usual, "architect", "NRestarts") == "0"
    assert "hangs: killing" not in said_by(usual, "roundhouse-watchdog@architect", usual.since)


def test_the_watchdog_kills_no_engine_during_a_drain(usual):
    usual.restart("architect", f"--answer-while {usual.gate}")
    usual.fault("architect", "")
    usual.request("architect", 6000)
    usual.meanwhile("phase.: .stop", f"touch {usual.gate}")  # earlier, the watchdog would rightly stop the engine
    result = usual.run("dev", "--drain", str(LONGER_SECONDS))
    assert (result["rc"], result["cut"]) == (0, 1)
    assert result["stages"]["stop"] >= LONGER_SECONDS
    assert "hangs: killing" not in said_by(usual, "roundhouse-watchdog@architect", usual.since)


def crash_permanently(table, agent, fault):
    """Make the active agent's engine crash, at each later start too."""
    table.fault(agent, fault)
    table.host.check_output("systemctl kill --signal=SIGKILL roundhouse-%s", agent)


def failover_of(table, agent):
    """Wait until failover has started another agent, and return the history's entry."""
    table.until(f"roundhouse status --json | grep -q 'agent.: .{agent}., .state.: .ready'")
    table.until("! systemctl --quiet is-active 'roundhouse-failover@*'")
    assert table.serving() == [agent]
    (entry,) = [each for each in table.ask("history")["switches"][-2:] if each["outcome"] == "failed_over"]
    return entry


def test_after_two_failing_agents_a_third_one_is_started(table):
    for agent in ("dev", "architect"):  # first, because systemd resets its count of starts when it reloads units
        table.limit_unit(agent, *AT_ONCE)
    assert table.run("dev")["rc"] == 0
    crash_permanently(table, "dev", "--out-of-memory")
    entry = failover_of(table, "architect")
    assert (entry["previous"], entry["to"]) == (["dev"], "architect")
    assert "CUDA out of memory" in entry["cause"]
    # systemd gave dev up after four starts: it refused the fifth, which was the fourth restart. Its log has the reason.
    assert property_of(table, "dev", "NRestarts") == "4"
    assert property_of(table, "dev", "Result") == "exit-code"
    (row,) = [row for row in table.ask("status")["agents"] if row["agent"] == "dev"]
    assert row["state"] == "failed"
    assert "CUDA out of memory" in row["problem"]
    assert "dev was given up." in said_by(table, "roundhouse-failover@dev", 0)

    crash_permanently(table, "architect", "--out-of-memory")

    # Failover skips dev, the agent active before the architect, because dev was given up and not started since.
    assert (entry := failover_of(table, "po"))["previous"] == ["architect"], entry


def test_an_invalid_option_is_not_retried(table):
    table.limit_unit("dev", *AT_ONCE)
    assert table.run("po")["rc"] == 0
    assert table.run("dev")["rc"] == 0
    begun = time.monotonic()
    crash_permanently(table, "dev", "--no-such-option")
    entry = failover_of(table, "po")
    took = time.monotonic() - begun
    assert (entry["previous"], entry["to"]) == (["dev"], "po")
    assert "unrecognized arguments" in entry["cause"]
    assert property_of(table, "dev", "NRestarts") == "1"
    table.said = f"po serves {took:.0f} s after dev died"


def failovers(table):
    """Return the number of failovers in the history."""
    return [each["outcome"] for each in table.ask("history")["switches"]].count("failed_over")


def test_an_agent_stopped_by_a_person_causes_no_failover(table):
    table.limit("architect", stop_grace_seconds=1)
    table.restart("architect", "--ignore-term")
    table.fault("architect", "")
    before = failovers(table)
    assert table.run("stop", "--drain", "0")["rc"] == 0
    queued = "$(systemctl list-jobs --no-legend 'roundhouse-failover@*')"
    runs = "$(systemctl list-units --no-legend --state=active,activating 'roundhouse-failover@*')"
    table.until(f'test -z "{queued}{runs}"')
    assert table.serving() == []
    assert failovers(table) == before
    assert table.run("resume")["rc"] == 0
    table.said = "architect came back with resume"


@pytest.mark.parametrize("agent", ["architect", "dev", "po"])
def test_the_sandbox_of_an_agent_on_a_card_is_restrictive(table, agent):
    told = table.host.run(f"systemd-analyze security --no-pager roundhouse-{agent}.service").stdout
    assert float(told.strip().splitlines()[-1].split(": ")[1].split()[0]) <= 2.0, told
