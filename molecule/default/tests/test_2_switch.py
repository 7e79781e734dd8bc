"""A switch makes one agent active: by the command, which asks the agent itself, and by systemd alone."""

import json

import pytest

GATE = "/run/lab-gate"


def wait_for(host, condition: str) -> None:
    """Wait for a condition of the host's shell, with a limit."""
    host.check_output("timeout 90 sh -c %s", f"until {condition}; do sleep 0.1; done")


def stamp(host, unit: str, what: str) -> int:
    """Return a time of the unit in microseconds since boot."""
    return int(host.check_output("systemctl show --property %s --value %s", what, unit))


@pytest.mark.parametrize("agent", ["dev", "po", "architect"])
def test_an_agent_answers_on_its_port_after_a_switch_to_it(host, plan, switch, serving, client, agent):
    wanted = next(entry for entry in plan["agents"] if entry["name"] == agent)

    result = switch(agent)

    assert (result["rc"], result["changed"]) == (0, True), result
    assert serving() == [agent]
    (served,) = client(wanted["port"]).models.list().data
    assert (served.id, served.max_model_len) == (agent, wanted["max_model_len"])
    for port in (wanted["port"], plan["gateway_port"]):
        answer = client(port).chat.completions.create(
            model=agent, messages=[{"role": "user", "content": "Hello"}], max_tokens=4
        )
        assert answer.model == agent
        assert answer.choices[0].message.content.strip()
    for other in plan["agents"]:
        if other["name"] != agent:
            assert not host.socket(f"tcp://127.0.0.1:{other['engine_port']}").is_listening


def test_a_switch_to_the_active_agent_changes_nothing(switch):
    result = switch("architect")
    assert (result["rc"], result["changed"]) == (0, False)


def test_a_request_during_a_switch_waits_and_is_answered(host, fault, serving, address):
    assert serving() == ["architect"]
    fault("dev", f"--load-while {GATE}")
    host.check_output(f"touch {GATE}")
    ask = (
        "import json, urllib.request as u; "
        "body = json.dumps({'model': 'dev', 'prompt': 'go on', 'max_tokens': 2}).encode(); "
        "answer = u.urlopen('http://127.0.0.1:8080/v1/completions', body, timeout=300); "
        "print(answer.status, answer.headers['x-roundhouse-agent'], answer.headers['x-roundhouse-waited-ms'])"
    )
    look = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8180/metrics/roundhouse').read().decode())"
    run = "systemd-run --quiet --collect --unit"
    try:
        host.check_output(f"{run} lab-switch roundhouse dev")
        wait_for(host, "grep -qs 'loading weights' /var/lib/roundhouse/state/switch.json")
        host.check_output(f"{run} lab-client --property StandardOutput=truncate:/tmp/asked python3 -c %s", ask)
        wait_for(host, f'python3 -c "{look}" | grep -q \'gateway_waiting{{agent="dev"}} 1$\'')
    finally:
        host.check_output(f"rm {GATE}")
    wait_for(host, "! systemctl --quiet is-active lab-client")
    status, agent, waited = host.check_output("cat /tmp/asked").split()
    assert (status, agent) == ("200", "dev")
    assert int(waited) > 0
    wait_for(host, "! systemctl --quiet is-active lab-switch")
    assert serving() == ["dev"]


def test_a_question_is_answered_in_the_terminal_and_by_a_pipe(host, serving):
    assert serving() == ["dev"]
    told = json.loads(host.check_output("roundhouse chat dev 'What is two and two?' --max-tokens 4 --json"))
    assert (told["agent"], told["finish_reason"]) == ("dev", "length")
    assert told["answer"].strip()
    assert told["usage"]["completion_tokens"] == 4
    assert host.check_output("echo hello | roundhouse chat dev --max-tokens 3").strip()


def test_a_question_starts_an_agent_that_is_not_loaded(host, serving):
    assert serving() == ["dev"]
    assert json.loads(host.check_output("roundhouse chat po hello --max-tokens 3 --json"))["agent"] == "po"
    assert serving() == ["po"]
    host.check_output("roundhouse dev")


def test_a_conversation_switches_the_agent(host, serving):
    """`script` gives the command a terminal; what is typed waits there while the switch runs."""
    typed = "hello\\n/switch po\\nand now\\n/switch dev\\n/quit\\n"
    talk = "env TERM=dumb XDG_STATE_HOME=/tmp/state script -qec 'roundhouse chat dev --max-tokens 3' /dev/null"
    shown = " ".join(host.check_output(f"printf '{typed}' | timeout 300 {talk}").split())
    assert "The model is now" in shown
    assert "with 2 messages" in shown
    assert "with 4 messages" in shown
    assert serving() == ["dev"]
    assert host.file("/tmp/state/roundhouse/chat_history").mode == 0o600
    assert host.check_output("grep -c . /tmp/state/roundhouse/chat_history") == "5"
    host.check_output("rm -r /tmp/state")


def test_starting_a_unit_alone_stops_the_active_agent_first(host, serving):
    assert serving() == ["dev"]

    host.check_output("systemctl start roundhouse-po")

    assert serving() == ["po"]
    stopped = stamp(host, "roundhouse-dev", "InactiveEnterTimestampMonotonic")
    started = stamp(host, "roundhouse-po", "ExecMainStartTimestampMonotonic")
    assert 0 < stopped <= started
