"""A refusal is one sentence that names the problem and the remedy, and dev stays active."""

import json

import pytest


@pytest.fixture(autouse=True)
def dev_still_serves(serving, switch):
    """Require that dev is active before and after each test, and answers its canary."""
    assert switch("dev")["rc"] == 0
    yield
    assert serving() == ["dev"]
    assert switch("dev")["answer"].strip()


def refused(result, rc: int, *parts: str) -> None:
    """Check the exit status and that one sentence holds all the parts."""
    (error,) = result["errors"]
    assert (result["rc"], result["ok"]) == (rc, False)
    for part in parts:
        assert part in error["message"], error["message"]


def test_an_unknown_agent(switch):
    refused(switch("nosuch"), 2, "'nosuch'", "architect, dev, po")


def test_a_model_that_was_not_pulled_is_not_quantized(host):
    result = host.run("roundhouse quantize lab/nothing fp8 --json")
    answer = {**json.loads(result.stdout), "rc": result.rc}
    refused(answer, 2, "lab/nothing is not in ", "Run `roundhouse pull lab/nothing`.")


def test_a_port_that_another_process_holds(host, plan, switch):
    port = plan["agents"][2]["engine_port"]
    host.check_output(f"systemd-run --unit stranger python3 -m http.server --bind 127.0.0.1 {port}")
    host.check_output(f"timeout 60 sh -c 'until ss -ltn | grep -q :{port}; do sleep 0.1; done'")
    try:
        refused(switch("po"), 1, f"Port {port} of po is used by python3 (pid", "of stranger.service", "dev is active")
    finally:
        host.check_output("systemctl stop stranger")


def test_a_model_that_was_cut_is_refused_before_anything_is_stopped(host, plan, switch, over):
    host.check_output("systemctl stop roundhouse-control")  # its namespace does not get the mount of `over`
    started = host.check_output("systemctl show --property ExecMainStartTimestampMonotonic roundhouse-dev")
    folder = plan["agents"][2]["model_path"]
    over(folder, "truncate --size=-4096 model.safetensors")
    refused(switch("po"), 1, f"{folder}/model.safetensors", "bytes, but its header states", "dev is active")
    assert host.check_output("systemctl show --property ExecMainStartTimestampMonotonic roundhouse-dev") == started
    host.check_output("systemctl start roundhouse-control")


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("port", 8001, "agents[po].port is 8001, which dev also uses: give each agent a different port."),
        ("gpu_memory_utilization", 85, "agents[po].gpu_memory_utilization is 85, but it is a share of the card"),
        ("models", [{"model": "a/b", "quantization": "q4_K_M"}], "agents[po].models[0].quantization is 'q4_K_M'"),
        ("name", "status", "agents[status].name is 'status', a word that roundhouse uses"),
    ],
)
def test_an_invalid_roster_is_refused(plan, play, field, value, sentence):
    keys = ("name", "port", "max_model_len", "gpu_memory_utilization", "temperature", "top_p")
    agents = [{**{key: agent[key] for key in keys}, "models": [{"model": agent["model"]}]} for agent in plan["agents"]]
    agents[2][field] = value

    result = play({"agents": agents})

    assert result.returncode != 0
    assert sentence in result.stdout
    assert "changed=0" in result.stdout
