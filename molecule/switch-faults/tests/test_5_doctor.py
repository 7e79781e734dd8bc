"""doctor reports the cause of a fault and the log line that shows it, until the fault is repaired."""

import json
import re
import signal
from pathlib import Path

import pytest
from conftest import AT_ONCE

NVML = "/etc/lab-nvml.conf"  # the data of the card
FALLEN = "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."


def causes(table):
    """Return the causes that doctor reports, with their agents."""
    return {(each["agent"], each["code"]) for each in table.ask("doctor")["findings"]}


def told(table, agent, code):
    """Return the finding with an agent and a cause."""
    (found,) = [each for each in table.ask("doctor")["findings"] if (each["agent"], each["code"]) == (agent, code)]
    return found


@pytest.fixture
def well(table):
    """Start each agent successfully, so that failures of earlier cases no longer count."""
    if table.ask("doctor")["findings"]:
        for agent in ("dev", "po", "architect"):
            assert table.run(agent, "--drain", "0")["rc"] == 0, table.said
    return table


def test_status_and_doctor_name_a_drift_from_the_plan(table):
    before = table.host.file("/etc/roundhouse/plan.json").content_string
    changed = json.loads(before)
    changed["agents"][0]["max_model_len"] = 2048
    table.host.check_output("echo %s > /etc/roundhouse/plan.json", json.dumps(changed))
    (row,) = [row for row in table.ask("status")["agents"] if row["agent"] == "architect"]
    assert row["drift"] == ["its max_model_len is 4096, but 2048 is planned"]
    assert ("architect", "drift") in causes(table)
    table.host.check_output("echo %s > /etc/roundhouse/plan.json", before)


def test_a_missing_configuration_is_a_drift(table):
    table.host.check_output("mv /etc/roundhouse/agents/architect.yaml /tmp")
    (row,) = [row for row in table.ask("status")["agents"] if row["agent"] == "architect"]
    assert "architect.yaml is missing, so it cannot start again" in row["drift"][0]
    assert ("architect", "drift") in causes(table)
    table.host.check_output("mv /tmp/architect.yaml /etc/roundhouse/agents")


def test_doctor_finds_nothing_on_a_healthy_host(well):
    answer = well.ask("doctor")
    assert (answer["ok"], answer["findings"]) == (True, [])


@pytest.mark.parametrize(
    ("damage", "mend", "cause"),
    [
        ("mv /srv/lab/models/po/tokenizer.json /tmp", "mv /tmp/tokenizer.json /srv/lab/models/po", "model_damaged"),
        (
            "mv /etc/systemd/system/roundhouse-po.service /tmp; systemctl daemon-reload",
            "mv /tmp/roundhouse-po.service /etc/systemd/system; systemctl daemon-reload",
            "unit_missing",
        ),
        (
            "systemd-run --quiet --collect --unit lab-stranger python3 -m http.server --bind 127.0.0.1 8002;"
            " until ss -ltn | grep -q :8002; do sleep 0.1; done",
            "systemctl stop lab-stranger",
            "port_in_use",
        ),
    ],
    ids=["model", "unit", "port"],
)
def test_doctor_reports_the_state_of_the_host(well, damage, mend, cause):
    table = well
    table.host.check_output(damage)
    assert ("po", cause) in causes(table)
    table.host.check_output(mend)
    assert table.ask("doctor")["findings"] == []


def test_doctor_reports_another_process_on_the_card(table):
    table.host.check_output("systemd-run --quiet --collect --unit lab-stranger sleep 600")
    pid = table.host.check_output("systemctl show --property MainPID --value lab-stranger")
    card = f"/var/lib/lab/card/{pid}"
    table.host.check_output(f"echo '4096 0' > {card}.new; mv {card}.new {card}")
    table.until(f"grep -q {pid} {NVML}")
    assert {("dev", "memory_held"), ("architect", "slow_inference")} <= causes(table)


def test_doctor_reports_a_failed_start_until_a_later_one_succeeds(table):
    table.fault("dev", "--out-of-memory")
    table.refused("dev")
    assert table.host.check_output("systemctl is-active roundhouse-dev || true") == "inactive"
    found = told(table, "dev", "out_of_memory")
    assert "torch.OutOfMemoryError: CUDA out of memory" in found["evidence"]
    assert found["text"].startswith("Its last start, at 2")
    table.fault("dev", "")
    assert table.run("dev")["rc"] == 0, table.said
    assert ("dev", "out_of_memory") not in causes(table)


def test_doctor_reports_a_failed_switch_whose_engine_started(table):
    table.fault("dev", "--rubbish")
    table.refused("dev")
    assert "unreadable text" in told(table, "dev", "canary_failed")["evidence"]


def test_an_interrupted_switch_is_not_a_finding(table):
    assert table.run("dev")["rc"] == 0, table.said
    assert table.run("architect")["rc"] == 0, table.said
    table.fault("dev", "--never-ready")
    assert table.killed("start", signal.SIGINT, "dev")["rc"] == 130
    assert "dev" not in {agent for agent, _ in causes(table)}


@pytest.mark.parametrize(
    ("fault", "cause"),
    [("--out-of-memory", "out_of_memory"), ("--crash-after 0.5", "engine_died")],
    ids=["start", "run"],
)
def test_doctor_reports_a_unit_that_restarts_repeatedly(table, fault, cause):
    unlimited = ("[Unit]", "StartLimitIntervalSec=0")
    table.limit_unit("dev", *unlimited, *AT_ONCE)
    table.fault("dev", fault)
    table.host.check_output("systemctl start --no-block roundhouse-dev")
    table.until("test $(systemctl show --property NRestarts --value roundhouse-dev) -ge 2")
    # systemd tries no further start until then, so doctor may run late.
    table.limit_unit("dev", *unlimited, "[Service]", "RestartSec=600")
    table.until("systemctl show --property SubState roundhouse-dev | grep -q auto-restart")
    sentence = told(table, "dev", cause)["text"]
    assert int(re.search(r"crashes repeatedly \((\d+) restarts", sentence)[1]) >= 2
    entry = table.history()
    assert (entry["outcome"], entry["to"], entry["cause_code"]) == ("crashed", "dev", cause)
    table.fault("dev", "")
    assert table.run("architect", "--wait")["rc"] == 0, table.said  # a failover of dev may run


def test_doctor_reports_why_systemd_gave_up_an_agent(table):
    table.fault("dev", "--out-of-memory")
    table.host.check_output("for n in $(seq 5); do systemctl start roundhouse-dev 2>/dev/null || true; done")
    table.until("journalctl --unit roundhouse-dev --lines 50 | grep -q 'repeated too quickly'")
    assert told(table, "dev", "out_of_memory")["text"].startswith("systemd gave it up after too many starts.")
    table.fault("dev", "")
    assert table.run("architect", "--wait")["rc"] == 0, table.said  # a failover of dev may run


def test_doctor_reads_the_kernels_log(table):
    # A pipe replaces the kernel's messages that journald reads, because a container has none. A process holds the pipe
    # open, otherwise every reader would block.
    held = "systemd-run --quiet --collect --unit lab-client-kmsg sh -c 'exec 3<>/dev/kmsg; sleep 60'"
    table.host.check_output(f"mkfifo /dev/kmsg && {held}")
    table.until("ls -l /proc/$(systemctl show --property MainPID --value lab-client-kmsg)/fd | grep -q kmsg")
    table.host.check_output("systemctl restart systemd-journald")
    try:
        table.host.check_output(f"echo '4,1,1,-;{FALLEN}' > /dev/kmsg")
        table.until("journalctl --dmesg --quiet | grep -q fallen")
        assert FALLEN in told(table, None, "card_lost")["evidence"]
    finally:
        # Restore the state without messages, and remove the line, which other cases would see for a day.
        table.host.check_output("rm /dev/kmsg && systemctl restart systemd-journald")
        table.host.check_output("journalctl --rotate && journalctl --vacuum-size=1")
    assert (None, "card_lost") not in causes(table)


def test_doctor_reports_a_failed_pull(table):
    assert table.host.run("roundhouse pull --from /srv/lab/models lab/none").rc == 1
    store = table.host.check_output("find / -xdev -name .pull.json")
    assert told(table, None, "download_failed")["evidence"].endswith("[model_not_in_source]")
    table.host.check_output(f"rm -r {Path(store).parent}")
    assert (None, "download_failed") not in causes(table)


def test_doctor_reports_the_cause_of_slow_inference(table):
    table.restart("architect", "--preemptions 50")
    more = f"{NVML}.more"
    table.host.check_output(f"echo 'live 0 97 91 120 180 180 0x20' > {more}")
    table.until(f"grep -q ^live {NVML}")
    try:
        seen = {each["evidence"] for each in table.ask("doctor")["findings"] if each["code"] == "slow_inference"}
        assert "use 97 %, 91 C, 120 of 180 W" in table.host.check_output("roundhouse gpu")
    finally:
        table.host.check_output(f"rm {more}")
        table.until(f"! grep -q ^live {NVML}")
    assert seen == {
        "50 preemptions, 0 requests answered since it started",
        "GPU 0 at 91 C, 120 W: clocks lowered, it is too hot",
    }


def test_doctor_reports_an_upgraded_driver(table):
    version = "/srv/lab/sys/module/nvidia/version"
    before = table.host.file(version).content_string.strip()
    table.host.check_output(f"echo 590.1 > {version}")
    try:
        assert (None, "driver_mismatch") in causes(table)
    finally:
        table.host.check_output(f"echo {before} > {version}")
