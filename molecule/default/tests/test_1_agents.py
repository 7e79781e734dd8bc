"""Each agent, put on the track by the command, is the engine, the model and the sampling that were asked for."""

import json
from urllib.request import urlopen

import openai
import pytest

AGENTS = ("dev", "po", "architect")


def say(client: openai.OpenAI, agent: str, **sampling: float) -> str:
    """Return the text of a seeded completion, so that equal sampling gives equal text."""
    answer = client.completions.create(model=agent, prompt="The", max_tokens=48, seed=11, **sampling)
    return answer.choices[0].text


def the_rosters_sampling_is_the_servers_default(api: openai.OpenAI, wanted: dict) -> None:
    """Compare a seeded text by default with texts of stated sampling, for each of the two settings."""
    agent, sampling = wanted["name"], {"temperature": wanted["temperature"], "top_p": wanted["top_p"]}
    by_default = say(api, agent)
    assert by_default == say(api, agent, **sampling)
    # vLLM's own default is temperature 1: the same seed then draws another text.
    assert by_default != say(api, agent, temperature=1.0, top_p=wanted["top_p"])
    # top_p shows where the temperature leaves something to cut: stated alone, it must not change a hot text.
    assert say(api, agent, temperature=2.0) == say(api, agent, temperature=2.0, top_p=wanted["top_p"])
    assert say(api, agent, temperature=2.0) != say(api, agent, temperature=2.0, top_p=1.0)


def test_the_deployed_plan_is_valid(host):
    assert host.run("roundhouse --check /etc/roundhouse/plan.json").rc == 0


def test_bash_and_man_find_what_the_commands_own_help_says(host):
    page, script = "/usr/local/share/man/man1/roundhouse.1", "/usr/share/bash-completion/completions/roundhouse"
    for path, word in ((page, "man"), (script, "completion")):
        file = host.file(path)
        assert (file.user, file.mode) == ("root", 0o644)
        assert file.content_string.strip() == host.check_output(f"roundhouse help {word}")
    asked = "COMP_WORDS=(roundhouse logs d); COMP_CWORD=2; _roundhouse; echo ${COMPREPLY[@]}"
    assert host.check_output("bash -c %s", f"source {script}; {asked}") == "dev"


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
    metrics = urlopen(f"http://{address}:1{wanted['port'] + 100}/metrics", timeout=10).read().decode()
    assert f'vllm:request_success_total{{engine="0",finished_reason="stop",model_name="{agent}"}}' in metrics
    the_rosters_sampling_is_the_servers_default(api, wanted)
    for other in plan["agents"]:
        if other["name"] != agent:
            assert not host.socket(f"tcp://127.0.0.1:{other['engine_port']}").is_listening


def test_an_agent_that_serves_is_left_alone(switch):
    result = switch("architect")
    assert (result["rc"], result["changed"]) == (0, False)
