"""After a switch is killed in any phase, the next command or the next boot completes it or rolls it back."""

import json
import signal

import docker
import pytest
from conftest import NAME

CARD = "/etc/lab-nvml.conf"
STATE = "/var/lib/roundhouse/state"
# All phases in their order, and the rollback.
PHASES = ("check", "stop", "free", "start", "canary", "commit", "rollback")
STOPPED = ("check", "stop", "free", "rollback")  # dev is not starting when the switch ends


@pytest.fixture
def held(table):
    """Return a function that keeps a switch to dev in a phase until the gate opens."""

    def hold(phase):
        if phase == "check":  # the switch reads the card's memory, and the card does not answer
            table.host.check_output(f"systemctl stop lab-card && rm {CARD} && mkfifo {CARD}")
        if phase == "stop":
            table.restart("architect", f"--answer-while {table.gate}")
            table.fault("architect", "")
            table.close_gate()
            table.request("architect", 16)
        if phase == "free":
            table.restart("architect", f"--hold-memory {table.gate}")
            table.fault("architect", "")
            table.close_gate()
        if phase in ("start", "canary"):
            table.close_gate()
            table.fault("dev", f"--{'load' if phase == 'start' else 'answer'}-while {table.gate}")
        if phase == "commit":  # another process holds the lock of the active agents' file
            table.host.check_output(
                f"systemd-run --quiet --collect --unit lab-client flock {STATE}/serving.lock sleep 600"
            )
            table.until(f"! flock --nonblock {STATE}/serving.lock true")
        if phase == "rollback":
            table.close_gate()
            table.fault("dev", "--out-of-memory")
            table.fault("architect", f"--load-while {table.gate}")

    # The recovery of systemd would compete with the command of a slow case.
    table.limit_unit("journal", "[Service]", "ExecStart=", "ExecStart=/usr/bin/sleep infinity")
    table.cleanup.append("systemctl stop roundhouse-journal.service")
    yield hold
    table.host.check_output(f"systemctl stop lab-client; test -f {CARD} || rm {CARD}; systemctl start lab-card")
    table.until(f"test -s {CARD}")


def let_go(table, phase):
    """Remove what blocks the switch."""
    table.host.check_output(f"rm -f {table.gate}")
    if phase == "check":
        table.host.check_output(f"rm {CARD} && systemctl start lab-card")
        table.until(f"test -s {CARD}")
    if phase == "commit":
        table.host.check_output("systemctl stop lab-client")


# Each phase with the command that completes or rolls back the switch, and with a command for another agent.
@pytest.mark.parametrize(
    ("phase", "word"),
    [
        *((phase, "resume") for phase in PHASES),
        *zip(PHASES, ("po", "dev", "architect", "po", "architect", "po", "dev"), strict=True),
        *(("stop", "architect"), ("start", "dev"), ("canary", "po")),
    ],
)
def test_after_sigkill_the_next_command_completes_or_restores(table, held, phase, word):
    held(phase)
    assert table.killed(phase, signal.SIGKILL, "dev")["rc"] == -signal.SIGKILL
    assert table.journal() == (phase != "check")
    let_go(table, phase)
    before = len(table.ask("history")["switches"])

    result = table.run(word)

    failed = (phase, word) == ("rollback", "dev")
    assert result["rc"] == (1 if failed else 0), table.said
    resumed = "architect" if phase in STOPPED else "dev"
    expected = resumed if word == "resume" else "architect" if failed else word
    assert table.serving() == [expected]
    assert not table.journal()
    first = table.ask("history")["switches"][before:][:1]
    if phase != "check":
        assert [(each["to"], each["cause"]) for each in first] == [("dev", f"killed in its phase {phase}")]
        # If the new agent is ready at the next command, the switch counts as done. From its start on it may be ready.
        may = {"canary": ["done"], "commit": ["done"], "start": ["done", "killed"]} if expected == "dev" else {}
        assert first[0]["outcome"] in may.get(phase, ["killed"])


@pytest.mark.parametrize("phase", PHASES[:-1])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_switch_rolls_back(table, held, phase, number):
    held(phase)
    result = table.killed(phase, number, "dev")
    let_go(table, phase)
    table.said = result["stderr"].splitlines()[-1] if result["stderr"] else "interrupted before anything was touched"
    assert result["rc"] == 130
    assert json.loads(result["stdout"])["errors"][0]["code"] == "interrupted"
    assert phase == "check" or "architect is active on port 8000." in result["stdout"]
    assert table.serving() == ["architect"]
    assert phase == "check" or (table.history()["to"], table.history()["outcome"]) == ("dev", "interrupted")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_resume_leaves_the_engine_starting(table, held, number):
    assert table.run("stop", "--drain", "0")["rc"] == 0
    table.close_gate()
    table.fault("architect", f"--load-while {table.gate}")
    result = table.killed("start", number, "resume")
    assert result["rc"] == 130
    assert "The start of architect continues" in result["stdout"]
    table.until("systemctl --quiet is-active roundhouse-architect")
    # The interrupt was not taken for a fault of the engine: no other agent was started in its place.
    assert property_of(table, "Result") == "success"
    assert table.serving() == ["architect"]
    entry = table.history()
    assert (entry["to"], entry["outcome"], entry["code"]) == ("architect", "interrupted", "interrupted")
    assert {each["agent"]: each["crash"] for each in table.ask("status")["agents"]}["architect"] is None
    table.said = "architect was started by the interrupted resume"


def test_after_sigkill_systemd_starts_the_recovery_although_no_agent_is_ready(table):
    table.close_gate()
    table.fault("dev", f"--load-while {table.gate}")
    assert table.killed("start", signal.SIGKILL, "dev")["rc"] == -signal.SIGKILL
    let_go(table, "start")
    table.until(f"! test -e {STATE}/switch.json")
    table.said = "systemd completed a killed switch"
    assert table.serving() == ["dev"]
    assert (table.history()["to"], table.history()["outcome"]) == ("dev", "done")
    table.host.check_output("systemctl --quiet is-active roundhouse-journal.path")


def property_of(table, name):
    """Return a property of the architect's unit."""
    return table.host.check_output("systemctl show --property %s --value roundhouse-architect", name)


def test_an_agent_that_is_still_stopping_can_be_started_again(table, held):
    held("stop")
    table.killed("stop", signal.SIGKILL, "dev")
    result = table.run("architect", "--drain", "1")
    assert (result["rc"], result["cut"]) == (0, 1)
    assert result["stages"]["free"] < 25  # the switch does not wait for the agent's own memory; the limit is 30 s


def test_a_second_switch_reports_the_progress_of_the_first(table):
    table.close_gate()
    table.fault("dev", f"--load-while {table.gate}")
    table.host.check_output("systemd-run --quiet --collect --unit lab-client roundhouse dev")
    table.until(f"grep -sq 'loading weights' {STATE}/switch.json")
    sentence = table.refused("po")
    assert "Another switch is running (to dev, pid " in sentence
    assert "now start: loading weights" in sentence
    table.host.check_output(f"rm {table.gate}")
    table.until("! systemctl -q is-active lab-client")
    assert table.serving() == ["dev"]


def test_a_waiting_second_switch_runs_after_the_first(table):
    table.close_gate()
    table.fault("dev", f"--load-while {table.gate}")
    table.host.check_output("systemd-run --quiet --collect --unit lab-client roundhouse dev")
    table.until(f"grep -sq to.:..dev {STATE}/switch.json")
    table.host.check_output(
        "systemd-run --quiet --collect --unit lab-client-second --property StandardError=truncate:/tmp/second.log "
        "roundhouse po --wait"
    )
    table.until("grep -q 'another switch is running' /tmp/second.log")
    table.host.check_output(f"rm {table.gate}")
    table.until("! systemctl -q is-active lab-client-second")
    assert table.serving() == ["po"]
    assert [each["to"] for each in table.ask("history")["switches"][-2:]] == ["dev", "po"]


def reboot(table, agent):
    """Restart the machine, and wait until the agent is ready."""
    docker.from_env().containers.get(NAME).restart(timeout=20)
    table.until(f"systemctl -q is-active roundhouse-{agent}")


@pytest.mark.parametrize("phase", ["start", "canary", "commit"])
def test_after_a_reboot_the_last_committed_agent_is_active(table, held, phase):
    held(phase)
    table.killed(phase, signal.SIGKILL, "dev")
    reboot(table, "architect")
    assert table.serving() == ["architect"]
    assert not table.journal()
    assert table.history()["outcome"] == "killed"


def test_a_switch_killed_after_its_commit_is_completed_at_the_next_boot(table, held):
    held("commit")
    table.killed("commit", signal.SIGKILL, "dev")
    # The commit is this rename. The end of the journal comes after it, and no process waits for that. The test reads
    # the newest entry, because after a restart a process may have the pid of a killed one, whose entry is kept.
    table.host.check_output(f"mv $(ls -t {STATE}/.serving.json.* | head -n 1) {STATE}/serving.json")
    reboot(table, "dev")
    assert table.serving() == ["dev"]
    assert not table.journal()
    assert table.history()["outcome"] == "done"
