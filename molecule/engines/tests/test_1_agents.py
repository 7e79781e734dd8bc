"""Each agent is started once, by site.yml or a switch, with the roster's engine, model and sampling."""

import json
from urllib.request import urlopen

import openai
import pytest

# The first agent is already active; the other files use the last one.
AGENTS = ("architect", "po", "dev")


def say(client: openai.OpenAI, agent: str, **sampling: float) -> str:
    """Return the text of a seeded completion, so that equal sampling gives equal text."""
    answer = client.completions.create(model=agent, prompt="The", max_tokens=128, seed=11, **sampling)
    return answer.choices[0].text


def the_rosters_sampling_is_the_servers_default(api: openai.OpenAI, wanted: dict) -> None:
    """Compare a seeded text with default sampling with texts with explicit sampling, for both settings."""
    agent, sampling = wanted["name"], {"temperature": wanted["temperature"], "top_p": wanted["top_p"]}
    by_default = say(api, agent)
    assert by_default == say(api, agent, **sampling)
    # vLLM's own default is temperature 1: the same seed then draws another text.
    assert by_default != say(api, agent, temperature=1.0, top_p=wanted["top_p"])
    # top_p has an effect only at a high temperature. There the default must be the roster's top_p, not 1.
    assert say(api, agent, temperature=2.0) == say(api, agent, temperature=2.0, top_p=wanted["top_p"])
    assert say(api, agent, temperature=2.0) != say(api, agent, temperature=2.0, top_p=1.0)


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_serves_after_a_switch_to_it(host, plan, switch, serving, client, address, engine_version, agent):
    wanted = next(entry for entry in plan["agents"] if entry["name"] == agent)

    before = serving()

    result = switch(agent)

    assert result["rc"] == 0, result
    assert result["changed"] == (before != [agent])
    assert serving() == [agent]
    api = client(wanted["port"])
    served = api.models.list().data
    assert [model.id for model in served] == [agent]
    assert served[0].max_model_len == wanted["max_model_len"]
    ask = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())"
    told = host.check_output("python3 -c %s %s", ask, f"http://127.0.0.1:{wanted['engine_port']}/version")
    assert json.loads(told)["version"] == engine_version
    chat = api.chat.completions.create(model=agent, messages=[{"role": "user", "content": "Hello"}], max_tokens=24)
    assert chat.model == agent
    assert chat.choices[0].finish_reason in ("stop", "length")
    assert any(letter.isalpha() for letter in chat.choices[0].message.content)
    metrics = urlopen(f"http://{address}:1{wanted['port'] + 100}/metrics", timeout=60).read().decode()
    assert f'vllm:request_success_total{{engine="0",finished_reason="stop",model_name="{agent}"}}' in metrics
    the_rosters_sampling_is_the_servers_default(api, wanted)
    for other in plan["agents"]:
        if other["name"] != agent:
            assert not host.socket(f"tcp://127.0.0.1:{other['engine_port']}").is_listening
