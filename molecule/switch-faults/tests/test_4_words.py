"""What the words say of a host on which something is wrong, and the playbook of several hosts."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import INVENTORY, NAME

ROOT = Path(__file__).resolve().parents[3]


def causes(table):
    """Return the causes that doctor names, by agent."""
    return {(each["agent"], each["cause"]) for each in table.ask("doctor")["findings"]}


def test_gpu_has_the_line_that_users_know(table):
    text = table.host.check_output("roundhouse gpu")
    assert text.splitlines()[0] == "GPU 0: VRAM 13.9GB / 15.9GB (87%)"
    assert "NVIDIA GeForce RTX 5060 Ti: use -" in text  # the stand-in does not tell: unknown is no 0
    assert "roundhouse-architect.service (pid" in text


def test_status_tells_requests_and_who_holds_the_memory(table):
    table.request("architect", 200)
    (row,) = [row for row in table.ask("status")["agents"] if row["agent"] == "architect"]
    assert (row["running"], row["waiting"], row["kv_use"], row["drift"]) == (1, 0, 0.05, [])
    text = table.host.check_output("roundhouse status")
    assert "GPU 0: 13.9 of 15.9 GiB in use: architect 13.5 GiB" in text


def test_status_and_doctor_name_a_drift_from_the_plan(table):
    before = table.host.file("/etc/roundhouse/plan.json").content_string
    changed = json.loads(before)
    changed["agents"][0]["max_model_len"] = 2048
    table.host.check_output("echo %s > /etc/roundhouse/plan.json", json.dumps(changed))
    (row,) = [row for row in table.ask("status")["agents"] if row["agent"] == "architect"]
    assert row["drift"] == ["its max_model_len is 4096, and 2048 is planned"]
    assert ("architect", "drift") in causes(table)
    table.host.check_output("echo %s > /etc/roundhouse/plan.json", before)


def test_nothing_is_wrong_on_a_host_that_is_well(table):
    answer = table.ask("doctor")
    assert (answer["ok"], answer["findings"]) == (True, [])


@pytest.mark.parametrize(
    ("damage", "mend", "cause"),
    [
        ("mv /srv/lab/models/po/tokenizer.json /tmp", "mv /tmp/tokenizer.json /srv/lab/models/po", "model damaged"),
        (
            "mv /etc/systemd/system/roundhouse-po.service /tmp; systemctl daemon-reload",
            "mv /tmp/roundhouse-po.service /etc/systemd/system; systemctl daemon-reload",
            "unit missing",
        ),
        (
            "systemd-run --quiet --collect --unit lab-stranger python3 -m http.server --bind 127.0.0.1 8002; sleep 1",
            "systemctl stop lab-stranger",
            "port taken",
        ),
    ],
    ids=["model", "unit", "port"],
)
def test_doctor_sees_the_state_of_the_host(table, damage, mend, cause):
    table.host.check_output(damage)
    assert ("po", cause) in causes(table)
    table.host.check_output(mend)
    assert table.ask("doctor")["findings"] == []


def test_doctor_sees_a_stranger_on_the_card(table):
    table.host.check_output("systemd-run --quiet --collect --unit lab-stranger sleep 600")
    pid = table.host.check_output("systemctl show --property MainPID --value lab-stranger")
    table.host.check_output(f"echo '4096 0' > /var/cache/roundhouse/card/{pid}; sleep 0.3")
    assert ("dev", "memory held") in causes(table)


def test_doctor_sees_a_driver_that_was_upgraded(table):
    version = "/srv/lab/sys/module/nvidia/version"
    before = table.host.file(version).content_string.strip()
    table.host.check_output(f"echo 590.1 > {version}")
    try:
        assert (None, "driver mismatch") in causes(table)
    finally:
        table.host.check_output(f"echo {before} > {version}")


def test_watch_writes_a_line_a_change_where_there_is_no_terminal(table):
    (line,) = table.host.check_output("roundhouse watch --every 0.2 --rounds 3").splitlines()
    assert line.endswith("architect ready (0 running, 0 waiting, KV 0 %)")


def test_watch_fills_a_terminal_of_80_columns(table):
    command = "COLUMNS=80 script --quiet --command 'roundhouse watch --every 0.2 --rounds 1' /dev/null"
    screen = table.host.check_output(command)
    assert "GPU 0: VRAM" in screen
    assert max(len(line) for line in screen.replace("\x1b[H\x1b[2J", "").splitlines()) <= 80


def play(**variables):
    """Run the playbook of several hosts."""
    command = [
        "ansible-playbook",
        "--inventory",
        INVENTORY,
        "--limit",
        NAME,
        "--extra-vars",
        json.dumps(variables),
        "playbooks/switch.yml",
    ]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_playbook_switches_and_says_how_each_host_went(table):
    done = play(agent="dev")
    assert done.returncode == 0, done.stdout
    assert f"{NAME}  switched  dev" in done.stdout
    assert table.serving() == ["dev"]


def test_the_playbook_stops_at_a_failure_with_its_sentence(table):
    table.fault("dev", "--out-of-memory")
    done = play(agent="dev")
    assert done.returncode != 0
    assert "dev did not start: torch.OutOfMemoryError" in done.stdout
    assert "failed" in done.stdout
    assert "agent is not set" in play().stdout
