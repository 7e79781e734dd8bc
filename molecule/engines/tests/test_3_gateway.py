"""Use the gateway before the real engine with OpenAI's client, on an agent's port and on the shared port."""

import json
from urllib.error import HTTPError
from urllib.request import urlopen

import openai
import pytest

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def agent(plan, serving, switch):
    """Return the active agent, after a switch to dev if there is none."""
    if not serving():
        assert switch("dev")["rc"] == 0
    (name,) = serving()
    return next(each for each in plan["agents"] if each["name"] == name)


@pytest.fixture(params=["its port", "the port of all"])
def api(request, client, agent, plan):
    """Return the client of one of the two ports."""
    return client(agent["port"] if request.param == "its port" else plan["gateway_port"])


def test_chat(api, agent):
    raw = api.chat.completions.with_raw_response.create(model=agent["name"], messages=MESSAGES, max_tokens=24)
    answer = raw.parse()
    assert answer.model == agent["name"]
    assert any(letter.isalpha() for letter in answer.choices[0].message.content)
    assert (raw.headers["x-roundhouse-agent"], int(raw.headers["x-roundhouse-waited-ms"])) == (agent["name"], 0)


def test_a_stream(api, agent):
    answer = api.chat.completions.create(model=agent["name"], messages=MESSAGES, max_tokens=24, stream=True)
    events = list(answer)
    assert {each.model for each in events} == {agent["name"]}
    assert len([each for each in events if each.choices and each.choices[0].delta.content]) > 4
    assert events[-1].choices[0].finish_reason in ("stop", "length")


def test_embeddings_are_refused_as_openai_does(api, agent):
    with pytest.raises(openai.NotFoundError) as refused:
        api.embeddings.create(model=agent["name"], input="Hello")
    assert refused.value.body["type"] == "invalid_request_error"
    assert refused.value.body["message"] == "The gateway has no such path, or not with this method."


def test_an_error_of_the_engine_is_openais(api, agent):
    with pytest.raises(openai.BadRequestError) as refused:
        api.completions.create(model=agent["name"], prompt="word " * 3 * agent["max_model_len"], max_tokens=1)
    assert str(agent["max_model_len"]) in refused.value.body["message"]
    with pytest.raises(openai.NotFoundError):
        api.chat.completions.create(model="nosuch", messages=MESSAGES)


def test_an_agent_that_is_not_loaded_is_refused_and_not_retried(client, agent, plan):
    other = next(each for each in plan["agents"] if each["name"] != agent["name"])
    for port in (other["port"], plan["gateway_port"]):
        with pytest.raises(openai.InternalServerError) as refused:
            client(port).chat.completions.create(model=other["name"], messages=MESSAGES)
        assert refused.value.status_code == 503
        assert refused.value.body["type"] == "server_error"
        assert refused.value.response.headers["x-should-retry"] == "false"


def test_the_one_endpoint_lists_the_roster(client, agent, plan):
    listed = client(plan["gateway_port"]).models.list().data
    assert {each.id: (each.state, each.port, each.max_model_len) for each in listed} == {
        each["name"]: ("ready" if each["name"] == agent["name"] else "stopped", each["port"], each["max_model_len"])
        for each in plan["agents"]
    }


def test_private_paths_of_vllm_are_not_there(address, agent):
    for path in ("/metrics", "/version", "/docs", "/openapi.json", "/v1/load_lora_adapter", "/sleep"):
        with pytest.raises(HTTPError) as refused:
            urlopen(f"http://{address}:1{agent['port']}{path}", timeout=10)
        assert refused.value.code == 404
        assert json.loads(refused.value.read())["error"]["code"] == 404
