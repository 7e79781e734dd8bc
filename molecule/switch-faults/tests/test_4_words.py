"""The commands besides a switch, and the playbook for several hosts."""

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from conftest import INVENTORY, NAME

from roundhouse.paths import CHECKOUT as ROOT


def test_gpu_has_the_line_that_users_know(table):
    text = table.host.check_output("roundhouse gpu")
    assert text.splitlines()[0] == "GPU 0: VRAM 13.9 GiB / 15.9 GiB (87%)"
    assert "NVIDIA GeForce RTX 5060 Ti: use -" in text  # the stand-in does not report it; unknown is not 0
    assert "roundhouse-architect.service (pid" in text


def test_status_shows_requests_and_processes_with_memory(table):
    table.restart("architect", f"--answer-while {table.gate}")
    table.fault("architect", "")
    table.close_gate()
    table.request("architect", 16)
    (row,) = [row for row in table.ask("status")["agents"] if row["agent"] == "architect"]
    assert (row["running"], row["waiting"], row["kv_use"], row["drift"]) == (1, 0, 0.05, [])
    text = table.host.check_output("roundhouse status")
    assert "GPU 0: 13.9 of 15.9 GiB in use: architect 13.5 GiB" in text
    table.host.check_output(f"rm {table.gate}")
    table.until("! systemctl --quiet is-active lab-client")


def test_watch_writes_one_line_per_change_without_a_terminal(table):
    (line,) = table.host.check_output("roundhouse watch --every 0.2 --rounds 3").splitlines()
    # Earlier cases may have left a running request or a failed unit.
    assert re.match(r"[0-9:]{8} architect ready \(\d running, 0 waiting, KV \d %\)", line)


def test_watch_fills_a_terminal_of_80_columns(table):
    command = "COLUMNS=80 script --quiet --command 'roundhouse watch --every 0.2 --rounds 1' /dev/null"
    screen = table.host.check_output(command)
    assert "GPU 0: VRAM" in screen
    assert max(len(line) for line in screen.replace("\x1b[H\x1b[2J", "").splitlines()) <= 80


def test_watch_logs_the_main_steps_of_a_switch(table):
    table.fault("dev", f"--load-while {table.gate}")
    steps = {2: 25, 4: 50, 6: 75}  # step of eight, and the percentage that the engine reports
    for step in steps:
        table.host.check_output(f"touch {table.gate}.{step}")
    table.host.check_output(
        "systemd-run --quiet --collect --unit lab-client --property StandardOutput=truncate:/tmp/watch.log "
        "roundhouse watch --every 0.1"
    )
    table.until("test -s /tmp/watch.log")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(table.run, "dev")
        for step, percent in steps.items():
            # One second longer: ten checks without news, which the log must not show.
            table.until(f"grep -q 'loading weights {percent} %' /tmp/watch.log")
            table.host.check_output(f"sleep 1; rm {table.gate}.{step}")
        assert answer.result()["rc"] == 0, table.said
    table.until("tail -n 1 /tmp/watch.log | grep -q 'dev ready ([^;]*$'")
    lines = [line.partition(" ")[2] for line in table.host.check_output("cat /tmp/watch.log").splitlines()]
    assert lines[0].startswith("architect ready (")
    loading = [line for line in lines if "dev starting; switching to dev since" in line and "loading weights" in line]
    assert len({re.search(r"(\d*)\d %", line)[1] for line in loading if "%" in line}) >= 3
    # At 0.1 s there were at least 30 checks. The log shows only tens of percent, phases and states.
    assert len(lines) <= 25, lines
    plain = [re.sub(r"\d+", "#", line) for line in lines if "%" not in line.partition("switching")[2]]
    assert all(one != other for one, other in pairwise(plain))


def test_watch_shows_all_of_a_switch_in_80_columns(table):
    table.fault("dev", "--never-ready")
    table.host.check_output("systemd-run --quiet --collect --unit lab-client roundhouse dev")
    table.until("grep -q 'loading weights 100' /var/lib/roundhouse/state/switch.json")
    command = "COLUMNS=80 script --quiet --command 'roundhouse watch --every 0.2 --rounds 1' /dev/null"
    screen = table.host.check_output(command).replace("\x1b[H\x1b[2J", "").replace("\r", "")
    assert max(len(line) for line in screen.splitlines()) <= 80
    assert re.search(r"switching to dev since \d+ s, start: loading weights 100 %", " ".join(screen.split()))
    table.host.check_output("systemctl kill --signal=INT lab-client")
    table.until("! test -e /var/lib/roundhouse/state/switch.json")
    table.said = "the switch was interrupted"


def test_the_man_page_and_the_completion_are_installed(table):
    page = table.host.file("/usr/local/share/man/man1/roundhouse.1")
    assert (page.mode, page.content_string) == (0o644, table.host.check_output("roundhouse help man") + "\n")
    script = "/usr/share/bash-completion/completions/roundhouse"
    asked = "COMP_WORDS=(roundhouse logs d) COMP_CWORD=2; _roundhouse; echo ${COMPREPLY[@]}"
    assert table.host.check_output("bash -c %s", f"source {script}; {asked}") == "dev"


def test_invalid_options_are_reported_in_one_object(table):
    assert "usage: roundhouse" in table.ask("help")["text"]
    assert ".TH ROUNDHOUSE" in table.ask("help", "man")["text"]
    for words, part in ((("watch",), "watch has no end"), (("history", "-n", "-5"), "-n is -5")):
        answer = table.ask(*words)
        assert (answer["rc"], answer["ok"]) == (2, False)
        assert part in answer["errors"][0]["message"]


def play(*more, **variables):
    """Run the playbook for several hosts, on this host and on those of another inventory."""
    command = ["ansible-playbook", "--inventory", INVENTORY, *more, "--extra-vars", json.dumps(variables)]
    command += ["--limit", f"{NAME},gone", "playbooks/switch.yml"]
    # Molecule enables colours, which would precede a table's rows.
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_playbook_switches_and_shows_each_outcome(table):
    done = play(agent="dev")
    assert done.returncode == 0, done.stdout
    assert f"{NAME}  switched  dev" in done.stdout
    assert table.serving() == ["dev"]


def test_the_playbook_stops_at_a_failure_with_its_message(table):
    table.fault("dev", "--out-of-memory")
    done = play(agent="dev")
    assert done.returncode != 0
    assert "dev did not start: torch.OutOfMemoryError" in done.stdout
    assert re.search(rf"^ +{NAME} +failed .*dev did not start", done.stdout, re.MULTILINE)
    assert "agent is not set" in play().stdout


def test_the_playbook_shows_a_reason_for_an_unreachable_host(table, tmp_path):
    gone = tmp_path / "gone.json"
    where = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    gone.write_text(json.dumps({"gpu_hosts": {"hosts": {"gone": where}}}))
    table.host.check_output("mv /usr/local/bin/roundhouse /tmp")
    try:
        done = play("--inventory", str(gone), agent="dev", at_a_time=2)
    finally:
        table.host.check_output("mv /tmp/roundhouse /usr/local/bin")
    assert done.returncode != 0
    assert re.search(rf"^ +{NAME} +failed .*the roundhouse command is not installed", done.stdout, re.MULTILINE), (
        done.stdout
    )
    assert re.search(r"^ +gone +unreachable .*Connection refused", done.stdout, re.MULTILINE)


def test_a_program_switches_with_the_documents_own_code_and_reads_the_outcome(table, tmp_path):
    text = (ROOT / "docs/how-to/several-hosts.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names = {}
    exec(code, names)  # noqa: S102 - the code of the document
    inventory = tmp_path / "hosts.json"
    where = {"ansible_connection": "community.docker.docker", "ansible_python_interpreter": "/usr/bin/python3"}
    inventory.write_text(json.dumps({"gpu_hosts": {"hosts": {NAME: where}}}))
    well, (row,) = names["switch"](str(ROOT), str(inventory), "dev", str(tmp_path))
    assert (well, row["host"], row["outcome"], row["agent"]) == (True, NAME, "switched", "dev")
    table.fault("po", "--out-of-memory")
    well, (row,) = names["switch"](str(ROOT), str(inventory), "po", str(tmp_path))
    assert (well, row["outcome"]) == (False, "failed")
    assert "po did not start: torch.OutOfMemoryError" in row["why"]
    assert table.serving() == ["dev"]
