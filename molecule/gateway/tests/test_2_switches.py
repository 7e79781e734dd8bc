"""Clients send requests during switches: none is lost, cut without a reason, or answered by another agent."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from asking import ACROSS, Asking
from conftest import ANY, GATE, LOAD, PORTS

REQUESTS = 500
NAMES = ["architect", "dev", "po", "architect", "po", "dev"]


@pytest.mark.parametrize("failing", [False, True], ids=["well", "failing twice"])
def test_nothing_is_lost_over_five_switches(gate, fault, keys, record_property, failing):
    waits = f"--answer-while {GATE} --load-while {LOAD}"
    for name in PORTS:
        fault(name, waits)
    assert gate.run("architect")["rc"] == 0
    gate.host.check_output("systemctl restart roundhouse-architect")
    failures = []

    def switch(name):
        if failing and name == "po" and not failures:
            fault("po", "--out-of-memory")
            failures.extend(gate.run("po") for _ in range(2))
        fault("po", waits)
        answer = gate.run(name)
        assert (answer["rc"], answer["cut"]) == (0, 0), answer

    def begun():
        # The host waits for it: a question from here each time would take a core from the switch.
        note = "until grep -qs ' wait:' /var/lib/roundhouse/state/gateway.map; do sleep 0.02; done"
        return gate.host.run("timeout 2 sh -c %s", note).rc == 0

    def taken(count):
        (row,) = [each for each in gate.run("status")["agents"] if each["state"] == "ready"]
        return row["running"] == count

    asking = Asking(f"https://{gate.address}", {"any": ANY, **PORTS}, keys(4), gate.tls, REQUESTS)
    asyncio.run(asking.through(NAMES, switch, begun, gate.hold, taken, gate.load, gate.holds))
    record_property("outcome", f"5 switches and {len(failures)} that failed: {asking.told()}")
    assert [each["rc"] for each in failures] == ([1, 1] if failing else [])
    assert [each for each in asking.outcomes if each != "answered"] == []
    assert len(asking.outcomes) >= REQUESTS
    assert asking.across == 5 * ACROSS
    assert failing or asking.refused == 0
    assert max(asking.waited) > 0


def test_a_stream_that_a_drain_cuts_ends_with_the_reason(gate, fault):
    fault("architect", "--tokens-per-second 10")
    assert gate.run("architect")["rc"] == 0
    gate.host.check_output("systemctl restart roundhouse-architect")
    trusting = openai.DefaultHttpxClient(verify=gate.tls)
    api = openai.OpenAI(base_url=f"https://{gate.address}:{ANY}/v1", api_key=gate.key, http_client=trusting)
    stream = api.completions.create(model="architect", prompt="go on", max_tokens=3000, stream=True)
    next(iter(stream))
    with ThreadPoolExecutor(1) as pool:
        switching = pool.submit(gate.run, "dev", "--drain", "2")
        with pytest.raises(openai.APIError) as cut:
            list(stream)
        done = switching.result()
    assert (cut.value.code, cut.value.message) == (
        "agent_stopped",
        "architect was stopped by a switch to dev; repeat the request.",
    )
    assert (done["rc"], done["cut"]) == (0, 1)
