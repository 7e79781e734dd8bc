"""The ports of an agent, its engine, its metrics and the gateway, and conflicts between them."""

import json

import pytest

from roundhouse.plan import build, deployed
from roundhouse.roster import validate

GATEWAY = 8080


def agent(name, port):
    common = {"max_model_len": 16384, "gpu_memory_utilization": 0.9, "temperature": 0.3, "top_p": 0.95}
    return {"name": name, "port": port, "models": [{"model": "Qwen/Qwen2.5-7B-Instruct"}], **common}


def planned(gateway_port):
    settings = build.Settings("cpu", "/e", "/m", 1, gateway_port)
    return build.build([agent("dev", 8001), agent("po", 8002)], settings)["agents"]


def test_behind_the_gateway_an_engine_has_a_port_of_its_own():
    assert [(each["port"], each["engine_port"], each["config"]["port"]) for each in planned(GATEWAY)] == [
        (8001, 28001, 28001),
        (8002, 28002, 28002),
    ]


def test_without_a_gateway_the_engine_has_the_agents_port():
    assert [(each["port"], each["engine_port"], each["config"]["port"]) for each in planned(None)] == [
        (8001, 8001, 8001),
        (8002, 8002, 8002),
    ]


def test_a_plan_from_before_the_gateway_is_read(tmp_path):
    made = build.build([agent("dev", 8001)], build.Settings("cpu", "/e", "/m", 1))
    del made["agents"][0]["engine_port"]
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(made))
    assert deployed.load(file)["agents"][0]["engine_port"] == 8001


@pytest.mark.parametrize(
    ("port", "sentence"),
    [
        (8080, "agents[qa].port is 8080, which is also gateway_port: write another port."),
        (
            8101,
            "agents[dev].port is 8001, so dev's metrics port is 8101, which is also qa's port: write another port.",
        ),
        (
            28001,
            "agents[dev].port is 8001, so dev's engine port is 28001, which is also qa's port: write another port.",
        ),
        (
            7980,
            "agents[qa].port is 7980, so qa's metrics port is 8080, which is also gateway_port: write another port.",
        ),
        (
            60000,
            "agents[qa].port is 60000, and its engine listens 20000 above it: write at most 45535.",
        ),
    ],
)
def test_a_port_of_another_agent_or_the_gateway_is_refused(port, sentence):
    agents = [agent("dev", 8001), agent("qa", port)]
    assert list(validate.problems(agents, gateway_port=GATEWAY)) == [sentence]
    assert list(validate.problems(agents)) == []


def test_two_agents_with_one_port_are_reported_once():
    (sentence,) = validate.problems([agent("dev", 8001), agent("qa", 8001)], gateway_port=GATEWAY)
    assert sentence == "agents[qa].port is 8001, which dev also uses: give each agent a different port."


@pytest.mark.parametrize("wrong", [80, "8080", True, 70000])
def test_an_invalid_gateway_port_is_refused(wrong):
    (sentence,) = validate.problems([agent("dev", 8001)], gateway_port=wrong)
    assert sentence == f"gateway_port is {wrong!r}: write a whole number from 1024 to 65535."
