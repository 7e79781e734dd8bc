"""On demand: requests start agents within the bounds of the settings, also when the control service is killed."""

import asyncio
import http.client
import json
import os
import re
import subprocess
import time

import openai
import promises
import pytest
from conftest import ANY, GATE, INVENTORY, PORTS
from many_clients import Found, ManyClients

from roundhouse.gateway import on_demand as gateway_on_demand
from roundhouse.gateway import scheduler
from roundhouse.paths import CHECKOUT as ROOT

# Of a run, at least: some turns of each agent, by the rules that the host's variables have.
SECONDS, SWITCHES = 12, 3
RULES = "/etc/roundhouse/demand.json"
REQUESTS = 30
MESSAGES = [{"role": "user", "content": "go on"}]


@pytest.fixture(scope="module")
def on_demand(gate):
    """Return the host's settings of agents on demand; deploy without on demand at the end."""
    assert gate.run("architect", "--wait")["rc"] == 0
    yield gateway_on_demand.settings(json.loads(gate.host.file(RULES).content_string))
    command = ["ansible-playbook", "--inventory", INVENTORY, "--limit", gate.name]
    command += ["--extra-vars", "gateway_on_demand=false", "playbooks/gateway.yml"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert not gate.host.file("/etc/systemd/system/roundhouse-control.service").exists
    assert gate.host.run("systemctl is-active roundhouse-control.socket").stdout.strip() == "inactive"


def ask(gate, agent, tokens=4):
    """Return the status, the agent and the seconds of the hold."""
    line = http.client.HTTPSConnection(gate.address, ANY, timeout=120, context=gate.tls)
    body = {"model": agent, "prompt": "go on", "max_tokens": tokens}
    line.request("POST", "/v1/completions", json.dumps(body), {"Authorization": f"Bearer {gate.key}"})
    answer = line.getresponse()
    answer.read()
    return answer.status, answer.headers["x-roundhouse-agent"], int(answer.headers["x-roundhouse-waited-ms"]) / 1000


def switches(gate):
    return gate.run("history", "-n", "1000")["switches"]


def test_a_requested_agent_starts(gate, on_demand):
    assert ask(gate, "po")[:2] == (200, "po")
    assert [each["state"] for each in gate.run("status")["agents"] if each["agent"] == "po"] == ["ready"]


@pytest.mark.one_host("trixie")
def test_openais_client_as_it_is_made_asks_three_agents_in_turn(gate, on_demand, record_property):
    trusting = openai.DefaultHttpxClient(verify=gate.tls)  # the certificate is the host's own
    api = openai.OpenAI(base_url=f"https://{gate.address}:{ANY}/v1", api_key=gate.key, http_client=trusting)
    names, waits = list(PORTS), []
    for turn in range(REQUESTS):
        name = names[turn % len(names)]
        raw = api.chat.completions.with_raw_response.create(model=name, messages=MESSAGES, max_tokens=4)
        assert (raw.parse().model, raw.headers["x-roundhouse-agent"]) == (name, name)
        waits.append(int(raw.headers["x-roundhouse-waited-ms"]) / 1000)
    record_property(
        "outcome", f"{len(waits)} requests answered; waits in s: {' '.join(f'{each:.1f}' for each in waits)}"
    )
    assert len(waits) == REQUESTS
    assert sum(wait > 0 for wait in waits) >= REQUESTS - 1  # each but possibly the first needed a switch


@pytest.mark.one_host("bookworm")
def test_a_stopped_agent_is_started_by_the_next_request(gate, on_demand):
    assert gate.run("stop")["rc"] == 0
    gate.until(None)
    assert ask(gate, "architect")[:2] == (200, "architect")


@pytest.mark.one_host("bookworm")
def test_a_manual_switch_uses_the_service_and_both_report_the_same(gate, on_demand):
    answer = gate.run("dev", "--wait")
    assert (answer["rc"], answer["agent"], answer["changed"]) == (0, "dev", True)
    wrong = gate.run("nosuch")
    assert (wrong["rc"], wrong["errors"][0]["code"]) == (2, "unknown_command")
    said = gate.host.run("roundhouse architect --wait")
    assert said.rc == 0
    assert "architect is active on port 8000" in said.stdout
    assert "stopping dev" in said.stderr


@pytest.mark.one_host("bookworm")
def test_an_interrupted_manual_switch_restores_the_previous_agent(gate, on_demand, fault):
    assert gate.run("architect", "--wait")["rc"] == 0
    fault("dev", f"--load-while {GATE}")
    gate.hold(True)
    gate.host.check_output(
        "systemd-run --quiet --collect --unit lab-client --property StandardError=truncate:/tmp/said "
        "roundhouse dev --wait"
    )
    gate.wait_for("grep -qs 'loading weights' /var/lib/roundhouse/state/switch.json")
    gate.host.check_output("systemctl kill --signal=INT lab-client")
    gate.wait_for("! systemctl --quiet is-active lab-client")
    said = " ".join(gate.host.file("/tmp/said").content_string.split())
    assert "The switch to dev was interrupted. architect is active on port 8000." in said
    assert ask(gate, "architect")[:2] == (200, "architect")


@pytest.mark.parametrize("names", [("dev", "po"), tuple(PORTS)], ids=["two", "three"])
def test_many_requests_in_turn_keep_what_the_settings_promise(gate, on_demand, keys, record_property, names):
    looks = []  # seconds

    def made():
        begun = time.monotonic()
        told = switches(gate)
        looks.append(time.monotonic() - begun)
        return told

    before = len(made())

    def enough():
        return len(made()) - before >= SWITCHES

    clients = ManyClients(f"https://{gate.address}:{ANY}/v1", keys(6), gate.tls, list(names))
    begun = time.monotonic()
    asked = asyncio.run(clients.run(SECONDS, clients=6, pause_seconds=0.2, enough=enough))
    seconds = time.monotonic() - begun
    done = made()[before:]
    # The length of a switch here: its phases and the command around them, which is longer than `history`.
    longest_switch = max(sum(each["stages"].values()) for each in done) + max(3, 4 * max(looks))
    found = Found(
        asked,
        len(done),
        promises.most_switches(on_demand, seconds),
        max(each.waited_seconds for each in asked),
        scheduler.longest_wait_seconds(on_demand, len(names), longest_switch),
    )
    record_property("outcome", found.text(seconds))
    assert [each for each in asked if each.outcome != "answered"] == []
    assert [each["outcome"] for each in done] == ["done"] * len(done)
    assert len(done) >= SWITCHES
    assert found.kept()
    assert {each.agent for each in asked} == set(names)


@pytest.mark.one_host("bookworm")
def test_the_control_service_killed_costs_no_answer(gate, on_demand):
    assert gate.run("dev", "--wait")["rc"] == 0
    gate.host.check_output("systemctl kill --kill-who=main --signal=KILL roundhouse-control")
    assert ask(gate, "dev")[:2] == (200, "dev")
    assert ask(gate, "po")[:2] == (200, "po")  # it was restarted
    gate.host.check_output("systemctl stop roundhouse-control.socket roundhouse-control.service")
    try:
        assert ask(gate, "po")[:2] == (200, "po")
        assert ask(gate, "dev")[0] == 503
        assert gate.run("architect")["rc"] == 0  # the command works alone
    finally:
        gate.host.check_output("systemctl start roundhouse-control.socket roundhouse-control.service")


def test_an_agent_that_does_not_start_is_refused_and_the_previous_one_restored(gate, on_demand, fault):
    assert gate.run("dev", "--wait")["rc"] == 0
    fault("po", "--out-of-memory")
    trusting = openai.DefaultHttpxClient(verify=gate.tls)
    api = openai.OpenAI(
        base_url=f"https://{gate.address}:{ANY}/v1", api_key=gate.key, http_client=trusting, max_retries=0
    )
    for _ in range(2):  # the one that caused the start, and one that comes after it
        with pytest.raises(openai.InternalServerError, match="po failed to start") as refused:
            api.chat.completions.create(model="po", messages=MESSAGES)
        assert 0 < int(refused.value.response.headers["Retry-After"]) <= scheduler.AFTER_FAILURE_SECONDS
    assert ask(gate, "dev")[:2] == (200, "dev")


@pytest.fixture
def other_rules(gate, on_demand):
    """Return a function that changes the deployed settings, which the service then reads by itself."""
    before = gate.host.file(RULES).content_string

    def change(**rules):
        gate.host.check_output(f"printf %%s %s > {RULES}", json.dumps({**json.loads(before), **rules}))

    yield change
    gate.host.check_output(f"printf %%s %s > {RULES}", before)


@pytest.mark.one_host("trixie")
def test_an_idle_agent_is_replaced_by_the_default_agent(gate, other_rules):
    assert gate.run("dev", "--wait")["rc"] == 0
    other_rules(idle_seconds=3, default_agents=["architect"])
    gate.until("architect")


@pytest.mark.one_host("bookworm")
def test_an_idle_agent_frees_the_card_and_starts_again_on_demand(gate, other_rules):
    assert gate.run("dev", "--wait")["rc"] == 0
    other_rules(idle_seconds=3)
    gate.until(None)
    assert ask(gate, "dev")[:2] == (200, "dev")


@pytest.mark.one_host("trixie")
def test_the_service_may_do_little(gate, on_demand):
    # It restarts when the settings change, as the previous test changed them.
    gate.wait_for("systemctl is-active --quiet roundhouse-control")
    text = gate.host.check_output("systemd-analyze security --no-pager roundhouse-control.service")
    exposure = float(re.search(r"exposure level for \S+: ([0-9.]+)", text)[1])
    assert exposure <= 2.5, text
    assert gate.host.file("/run/roundhouse-control.sock").mode == 0o600
