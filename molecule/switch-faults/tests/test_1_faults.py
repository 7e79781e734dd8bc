"""Faults of an engine, a host or a card: the switch restores the previous agent, and the message has the reason."""

import pytest
from conftest import AGENTS


def wait_briefly(table, agent, fault):
    """Shorten only the limit that a case with this fault waits for, because others depend on the machine's speed."""
    if "--never-ready" in fault:
        table.limit_unit(agent, "[Service]", "TimeoutStartSec=2")
    if "--hang" in fault:
        table.limit(agent, canary_timeout_seconds=1)
    if "--ignore-term" in fault:
        table.limit(agent, stop_grace_seconds=1)


@pytest.mark.parametrize(
    ("fault", "part"),
    [
        ("--out-of-memory", "CUDA out of memory"),
        ("--never-ready", "it was not healthy within its time limit"),
        ("--crash-after 0", "dev did not start: EngineDeadError: "),
        ("--crash-when-asked", "dev was healthy and ended at its first request: EngineDeadError: "),
        ("--rubbish", "unreadable text"),
        ("--hang", "dev is healthy but did not answer a request: "),
        ("--wrong-name", "dev-other is active, not dev"),
        ("--rubbish --ignore-term", "unreadable text"),
        ("--rubbish --hold-memory 0.5", "unreadable text"),
        ("--no-such-option", "unrecognized arguments"),
    ],
)
def test_the_new_engine_fails(table, fault, part):
    wait_briefly(table, "dev", fault)
    table.fault("dev", fault)
    sentence = table.refused("dev")
    assert part in sentence
    assert "architect is active on port 8000." in sentence
    assert table.history()["outcome"] == "rolled_back"
    assert table.serving() == ["architect"]


def test_an_answer_that_differs_from_the_deployments(table):
    assert table.run("dev")["rc"] == 0
    assert table.run("architect")["rc"] == 0
    table.fault("dev", "--answer-differently")
    assert "gave the wrong canary answer" in table.refused("dev")
    assert table.serving() == ["architect"]


def test_a_ready_agent_with_nonsense_answers_is_restarted(table):
    table.restart("architect", "--rubbish")
    table.fault("architect", "")
    assert table.run("architect")["changed"] is True


def test_a_ready_agent_with_a_changed_answer_keeps_running(table):
    assert table.run("dev")["rc"] == 0
    assert table.run("architect")["rc"] == 0
    table.restart("architect", "--answer-differently")
    table.fault("architect", "")
    assert table.run("architect")["changed"] is False
    table.host.check_output("systemctl restart roundhouse-architect")


def test_a_closed_output_does_not_end_the_switch(table):
    table.host.check_output("roundhouse dev 2>&1 | head -n 1")
    assert table.serving() == ["dev"]


def test_a_crashed_engine_does_not_prevent_a_switch(table):
    table.host.check_output("systemctl kill --signal=SIGKILL roundhouse-architect")
    assert table.run("dev")["rc"] == 0


def test_the_previous_engine_ignores_signals(table):
    table.limit("architect", stop_grace_seconds=1)
    table.restart("architect", "--ignore-term")
    result = table.run("dev", "--drain", "1")
    assert (result["rc"], result["cut"]) == (0, 0)
    # After the drain and its grace period, and before systemd's own limit.
    (agent,) = [each for each in table.plan["agents"] if each["name"] == "architect"]
    assert 2 <= result["stages"]["stop"] < agent["stop_timeout_seconds"] - 10


def test_the_cards_memory_is_freed_late(table):
    table.close_gate()
    table.restart("architect", f"--hold-memory {table.gate}")
    table.meanwhile("waiting for GPU 0: 13.9 of 15.9 GiB in use", f"rm {table.gate}")
    result = table.run("dev")
    assert result["rc"] == 0
    assert result["stages"]["free"] > 0


def test_the_cards_memory_is_never_freed(table):
    table.close_gate()
    table.restart("architect", f"--hold-memory {table.gate}")
    table.fault("architect", "")
    table.limit("dev", free_timeout_seconds=1)
    table.meanwhile("phase.: .rollback", f"rm {table.gate}")
    sentence = table.refused("dev")
    assert "dev takes 15.1 GiB of the 15.9 GiB of GPU 0; 1 s after the stop" in sentence
    assert table.history()["outcome"] == "rolled_back"


def test_both_fail(table):
    table.fault("dev", "--out-of-memory")
    table.fault("architect", "--out-of-memory")
    sentence = table.refused("dev")
    assert "The rollback to architect failed too: architect did not start" in sentence
    assert "No agent is active." in sentence
    assert table.history()["outcome"] == "rollback_failed"


@pytest.mark.parametrize(
    ("fault", "part"),
    [
        ("--rubbish", "architect returned unreadable text, '!!!!!!!!!!!!!!!!'; its weights"),
        ("--hang", "architect is healthy but did not answer a request: "),
        ("--never-ready", "architect did not start: it was not healthy within its time limit"),
    ],
)
def test_both_fail_and_the_previous_engine_is_up_but_broken(table, fault, part):
    wait_briefly(table, "architect", fault)
    table.fault("dev", "--out-of-memory")
    table.fault("architect", fault)
    sentence = table.refused("dev")
    assert f"The rollback to architect failed too: {part}" in sentence
    up = "" if fault == "--never-ready" else " and architect runs but its canary failed"
    assert f"No agent is active{up}." in sentence
    assert table.history()["outcome"] == "rollback_failed"


def stranger(table, mib):
    """Start a process that does not belong to an agent and holds memory of the card; return its pid."""
    table.host.check_output("systemd-run --quiet --collect --unit lab-stranger sleep 600")
    pid = table.host.check_output("systemctl show --property MainPID --value lab-stranger")
    card = f"/var/lib/lab/card/{pid}"
    table.host.check_output(f"echo '{mib} 0' > {card}.new; mv {card}.new {card}")  # the card reads it at any time
    table.until(f"grep -q {pid} /etc/lab-nvml.conf")
    return pid


def test_another_process_holds_the_card(table):
    pid = stranger(table, 4096)
    sentence = table.refused("dev")
    assert f"sleep (pid {pid}) holds 4.0 GiB." in sentence
    assert f"If they are not needed there, stop them (`kill {pid}`)." in sentence
    assert table.history()["outcome"] == "refused"
    assert table.serving() == ["architect"]


def test_a_stopped_agent_serves_again_after_resume(table):
    assert table.run("stop")["rc"] == 0, table.said
    assert table.serving() == []
    assert not table.journal()
    assert table.run("resume")["serving"] == ["architect"]
    assert table.serving() == ["architect"]


def test_a_small_process_on_the_card_is_ignored(table):
    stranger(table, 100)
    assert table.run("dev")["rc"] == 0


def test_an_occupied_port(table):
    table.host.check_output(
        "systemd-run --quiet --collect --unit lab-stranger python3 -m http.server --bind 127.0.0.1 8001"
    )
    table.until("ss -ltn | grep -q :8001")
    assert "Port 8001 of dev is used by python3" in table.refused("dev")


@pytest.fixture
def moved(table):
    """Return a function that removes a file for one case, or replaces its content."""
    paths = []

    def move(path, content=None):
        table.host.check_output(f"mv {path} {path}.away")
        if content is not None:
            table.host.check_output(f"echo '{content}' > {path}")
        table.host.check_output("systemctl daemon-reload")
        paths.append(path)

    yield move
    for path in paths:
        table.host.check_output(f"rm -rf {path}; mv {path}.away {path}")
    table.host.check_output("systemctl daemon-reload")


def test_a_missing_unit_file(table, moved):
    moved("/etc/systemd/system/roundhouse-dev.service")
    assert "systemd has not loaded roundhouse-dev.service (not-found)." in table.refused("dev")


def test_a_missing_unit_file_of_the_previous_agent(table, moved):
    moved("/etc/systemd/system/roundhouse-architect.service")
    assert table.run("dev")["rc"] == 0


def test_a_missing_unit_file_of_the_previous_agent_and_a_failed_start(table, moved):
    moved("/etc/systemd/system/roundhouse-architect.service")
    table.fault("dev", "--out-of-memory")
    sentence = table.refused("dev")
    assert "The rollback to architect failed too" in sentence
    assert "No agent is active" in sentence
    table.fault("dev", "")
    assert table.run("dev")["rc"] == 0
    table.said = sentence


@pytest.mark.parametrize(
    ("path", "content", "part"),
    [
        ("/srv/lab/models/dev/model.safetensors", None, "has no .safetensors file"),
        ("/srv/lab/models/dev/model.safetensors", "cut", "does not start with a safetensors header"),
        ("/etc/roundhouse/agents/dev.yaml", None, "dev did not start"),
        ("/etc/roundhouse/agents/dev.yaml", "served-model-name: dev\nmax-model-length: 3", "exit status 2"),
        ("/opt/lab-engine/bin/vllm", None, "did not start"),
    ],
    ids=["no weights", "cut weights", "no configuration", "unknown option", "no engine"],
)
def test_a_file_is_missing_or_damaged(table, moved, path, content, part):
    moved(path, content)
    sentence = table.refused("dev")
    assert part in sentence
    if "lab-engine" in path:  # all agents have the same engine
        assert "The rollback to architect failed too" in sentence
    else:
        assert table.serving() == ["architect"]


@pytest.fixture
def small_disk(table):
    """Move the state to a separate disk with 64 KiB free; the state's size depends on earlier cases."""
    folder = "/var/lib/roundhouse/state"
    table.host.check_output(
        f"rm -rf /tmp/state && cp -a {folder} /tmp/state && size=$(($(du -sk /tmp/state | cut -f1) + 64))"
        f" && mount -t tmpfs -o size=${{size}}k,mode=755 none {folder}"
        f" && {{ cp -a /tmp/state/. {folder} || {{ umount {folder}; false; }}; }}"
    )
    yield folder
    # The process that fills the disk must end first, otherwise it would fill the host's own disk.
    table.host.run("systemctl stop lab-stranger")
    table.host.check_output(f"rm -f {folder}/fill; cp -a {folder}/. /tmp/state; umount --lazy {folder}")
    table.host.check_output(f"cp -a /tmp/state/. {folder}; rm -r /tmp/state")


def fill(table, folder):
    table.host.run(f"dd if=/dev/zero of={folder}/fill bs=4k")


def test_a_full_disk_refuses_the_switch_and_stops_nothing(table, small_disk):
    fill(table, small_disk)
    sentence = table.refused("dev")
    assert "its disk is full." in sentence
    assert "Free space" in sentence
    assert table.serving() == ["architect"]


def test_a_disk_that_fills_during_a_switch_loses_no_record(table, small_disk):
    table.fault("dev", "--load-seconds 1")
    late = f"until grep -q 'loading weights' {small_disk}/switch.json; do sleep 0.05; done"
    fills = f"{late}; dd if=/dev/zero of={small_disk}/fill bs=4k"
    table.host.check_output("systemd-run --quiet --collect --unit lab-stranger sh -c %s", fills)
    assert table.run("dev")["rc"] == 0
    assert table.host.run(f"test -s {small_disk}/fill").rc == 0
    assert '"serving": ["dev"]' in table.host.file(f"{small_disk}/serving.json").content_string


def test_a_read_only_disk(table, small_disk):
    table.host.check_output(f"mount -o remount,ro {small_disk}")
    assert f"Cannot write {small_disk} (Read-only file system)" in table.refused("dev")
    table.host.check_output(f"mount -o remount,rw {small_disk}")


@pytest.mark.parametrize("content", ["{", '{"schema": 1}', "[]"])
@pytest.mark.parametrize("name", ["history.jsonl", "starts.json", "canaries.json", "switch.json"])
def test_a_state_file_is_damaged(switch_host, name, content):
    switch_host.host.check_output("echo %s > %s", content, f"/var/lib/roundhouse/state/{name}")
    assert switch_host.run(next(agent for agent in AGENTS if agent != switch_host.known))["rc"] == 0


def test_a_damaged_serving_file_is_reported_with_a_remedy(table):
    table.host.check_output("echo '{' > /var/lib/roundhouse/state/serving.json")
    assert "Delete it and switch again" in table.refused("dev")
    table.host.check_output("rm /var/lib/roundhouse/state/serving.json")
