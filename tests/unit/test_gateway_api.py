"""Run the gateway's own part of OpenAI's API: the list of models, pages of other origins, and refused tools."""

import json
import shutil

import openai
import pytest
from real_gateway import WAIT_SECONDS, create_files, starting

from roundhouse.gateway import keys

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does")
PAGE = "https://chat.lan"
TOOL = {"type": "function", "function": {"name": "read", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def start_gateway(tmp_path, monkeypatch):
    """Return a function that starts a gateway; dev is active."""
    yield from starting(create_files(tmp_path, monkeypatch))


def client(table, port):
    """Return OpenAI's client as a user makes it."""
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=WAIT_SECONDS)


def test_the_shared_port_lists_the_agents_with_their_states(start_gateway):
    table = start_gateway()
    table.serve("dev")
    listed = client(table, table.ports.any).models.list().data
    assert {each.id: (each.state, each.port, each.max_model_len) for each in listed} == {
        "dev": ("ready", table.ports.dev, 4096),
        "po": ("stopped", table.ports.po, 4096),
    }


def test_an_agents_port_lists_it_whatever_its_state(start_gateway):
    table = start_gateway()
    table.publish(dev="on:5", po="off:5")
    states = {}
    for name, port in (("dev", table.ports.dev), ("po", table.ports.po)):
        (listed,) = client(table, port).models.list().data
        assert listed.id == name
        states[name] = listed.state
    table.publish(po="failed:2000000000")
    (failed,) = client(table, table.ports.po).models.list().data
    assert (states, failed.state) == ({"dev": "starting", "po": "stopped"}, "failed")


def test_one_model_is_found_by_its_name(start_gateway):
    table = start_gateway()
    for port, name in ((table.ports.any, "dev"), (table.ports.any, "po"), (table.ports.po, "po")):
        found = client(table, port).models.retrieve(name)
        assert (found.id, found.object, found.state) == (name, "model", "starting" if name == "dev" else "stopped")


@pytest.mark.parametrize(("port", "name"), [("any", "nosuch"), ("any", "dev/x"), ("dev", "po"), ("dev", "nosuch")])
def test_another_model_is_not_found_and_the_agents_are_listed(start_gateway, port, name):
    table = start_gateway()
    answer = table.ask("GET", f"/v1/models/{name}", port=getattr(table.ports, port))
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"], error["type"]) == (404, "model_not_found", "invalid_request_error")
    assert error["message"].endswith("The agents are dev, po.")


def test_a_models_path_with_a_quote_and_a_percent_is_listed_as_it_is(start_gateway, monkeypatch):
    table = start_gateway()
    table.plan["agents"][0]["model"] = "/m/it's 50%[src]"
    table.write()
    table.end()
    table.engines = {}
    table.start()
    assert client(table, table.ports.any).models.retrieve("dev").root == "/m/it's 50%[src]"


def preflight(table, origin, wanted="authorization, content-type, x-stainless-os"):
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": wanted}
    return table.ask("OPTIONS", "/v1/chat/completions", **asked)


def cors(answer):
    return {name.lower(): value for name, value in answer.getheaders() if name.lower().startswith("access-control-")}


@pytest.mark.parametrize("origins", [[PAGE, "http://localhost:3000"], ["*"]])
def test_a_page_of_a_configured_origin_uses_the_api(start_gateway, origins):
    keys.ensure()
    table = start_gateway(cors_origins=origins, key_required=True)
    table.serve("dev")
    allowed = preflight(table, PAGE)  # a browser sends no key with it
    assert (allowed.status, allowed.headers["Vary"]) == (204, "Origin")
    assert cors(allowed) == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "authorization, content-type, x-stainless-os",
        "access-control-max-age": "600",
        "access-control-expose-headers": "x-roundhouse-agent, x-roundhouse-waited-ms, retry-after",
    }
    key = {"Authorization": f"Bearer {keys.load()['default']}"}
    for answer, status in (
        (table.complete("dev", Origin=PAGE, **key), 200),
        (table.complete("dev", Origin=PAGE), 401),  # the page can read the error
        (table.ask("GET", "/v1/models", Origin=PAGE, **key), 200),
    ):
        assert (answer.status, answer.headers["Vary"]) == (status, "Origin")
        assert cors(answer)["access-control-allow-origin"] == PAGE


def test_invalid_header_names_are_not_returned(start_gateway):
    table = start_gateway(cors_origins=[PAGE])
    assert cors(preflight(table, PAGE, "x;y: z"))["access-control-allow-headers"] == "authorization, content-type"


@pytest.mark.parametrize("origin", ["https://other.lan", "https://chat.lan.evil", "null"])
@pytest.mark.parametrize("origins", [[], [PAGE]])
def test_a_page_of_another_origin_gets_nothing(start_gateway, origins, origin):
    table = start_gateway(cors_origins=origins)
    table.serve("dev")
    before = preflight(table, origin)
    # A form's POST is sent without a preflight.
    sent = table.complete("dev", Origin=origin)
    assert (before.status, sent.status) == (404, 403)
    assert (cors(before), cors(sent), json.loads(sent.body)["error"]["code"]) == ({}, {}, 403)
    assert table.complete("dev").status == 200  # a program sends no origin


def test_a_refused_choice_of_tools_names_the_setting_of_the_roster(start_gateway):
    table = start_gateway()
    table.serve("dev")
    api = client(table, table.ports.any)
    for choice in ({}, {"tool_choice": "auto"}, {"stream": True}):
        with pytest.raises(openai.BadRequestError, match=r"tool_call_parser of agents\[dev\]") as refused:
            api.chat.completions.create(
                model="dev", messages=[{"role": "user", "content": "x"}], tools=[TOOL], **choice
            )
        assert (refused.value.code, refused.value.type) == ("tool_call_parser_missing", "invalid_request_error")
    named = {"type": "function", "function": {"name": "read"}}
    told = api.chat.completions.create(
        model="dev", messages=[{"role": "user", "content": "x"}], tools=[TOOL], tool_choice=named
    )
    assert told.choices[0].message.tool_calls[0].function.name == "read"


def test_another_error_of_the_engine_is_passed_on(start_gateway):
    table = start_gateway()
    table.serve("dev")
    with pytest.raises(openai.BadRequestError, match="maximum context length is 4096 tokens"):
        client(table, table.ports.any).completions.create(model="dev", prompt="word " * 5000)
