"""The requests of well-known clients, in their order and form, against the gateway on its shared port.

The clients themselves do not run here. Each sequence is written from the client's public source, which its docstring
names. CI runs aider and checks the editors' configuration files in molecule/engines.
"""

import json
import shutil

import openai
import pytest
from real_gateway import WAIT_SECONDS, create_files, starting

from roundhouse.gateway import keys

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does")
PARAMETERS = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
TOOLS = [{"type": "function", "function": {"name": "read_file", "description": "Read.", "parameters": PARAMETERS}}]
MESSAGES = [{"role": "system", "content": "You write code."}, {"role": "user", "content": "Hello"}]


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    """Return a gateway that wants keys, whose agent dev takes tools, and the key."""
    folder = create_files(tmp_path, monkeypatch)
    keys.ensure()
    for start in starting(folder, key_required=True, tool_call_parser="hermes"):
        table = start()
        table.serve("dev", "--tokens-per-second", "1000")
        yield table


@pytest.fixture
def key():
    """Return the gateway's first key."""
    return lambda: keys.load()["default"]


def post(gateway, path, body, **headers):
    """Return the status and the parsed events of a stream."""
    answer = gateway.ask("POST", path, json.dumps(body), **{"Content-Type": "application/json"} | headers)
    assert answer.headers["Content-Type"].startswith("text/event-stream"), answer.body
    *events, last, end = answer.body.decode().split("\n\n")
    assert (last, end) == ("data: [DONE]", "")
    return answer.status, [json.loads(event.removeprefix("data: ")) for event in events]


def test_open_webui(gateway, key):
    """List the models, then chat in a stream; the second agent is listed though it is not loaded.

    open-webui/open-webui, backend/open_webui/routers/openai.py: GET {url}/models by send_get_request with a bearer
    token, then POST {url}/chat/completions. A session adds stream_options; `tools` are sent with native function
    calling.
    """
    bearer = {"Authorization": f"Bearer {key()}"}
    listed = gateway.ask("GET", "/v1/models", **bearer)
    assert (listed.status, [each["id"] for each in json.loads(listed.body)["data"]]) == (200, ["dev", "po"])
    body = {"model": "dev", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
    status, events = post(gateway, "/v1/chat/completions", body | {"tools": TOOLS}, **bearer)
    assert status == 200
    assert events[-1]["usage"]["completion_tokens"] == len(events) - 1


def test_open_webui_on_an_agents_own_port(gateway, key):
    """Connect to the port of one agent that is not loaded: the list has that agent."""
    listed = gateway.ask("GET", "/v1/models", port=gateway.ports.po, Authorization=f"Bearer {key()}")
    assert [(each["id"], each["state"]) for each in json.loads(listed.body)["data"]] == [("po", "stopped")]


def test_continue(gateway, key):
    """Chat and edit in streams, complete code, and list the models.

    continuedev/continue, core/llm/llms/OpenAI.ts: `_getHeaders` sends the key as Authorization and as api-key.
    `_convertArgs` sends max_tokens, temperature, stop and stream. `_legacystreamComplete` posts to completions, and
    `listModels` reads `data[].id`.
    """
    headers = {"Authorization": f"Bearer {key()}", "api-key": key()}
    args = {"model": "dev", "max_tokens": 8, "temperature": 0.2, "stream": True, "stop": ["<|im_end|>", "```"]}
    status, events = post(gateway, "/v1/chat/completions", args | {"messages": MESSAGES}, **headers)
    assert (status, events[-1]["choices"][0]["finish_reason"]) == (200, "length")
    assert all("delta" in each["choices"][0] for each in events)
    status, events = post(gateway, "/v1/completions", args | {"prompt": "def port("}, **headers)
    assert (status, "".join(each["choices"][0]["text"] for each in events) != "") == (200, True)
    listed = gateway.ask("GET", "/v1/models", **headers)
    assert [each["id"] for each in json.loads(listed.body)["data"]] == ["dev", "po"]


def test_aider(gateway, key):
    """Chat in a stream, and without one for the commit message.

    aider-chat 0.86.2, aider/models.py `send_completion`, through litellm, which calls OpenAI's client: model without
    its prefix openai/, temperature 0, stream, and max_retries of the client's default. litellm reads the list of models
    only for `--list-models`.
    """
    api = openai.OpenAI(base_url=f"http://127.0.0.1:{gateway.ports.any}/v1", api_key=key())
    raw = api.chat.completions.with_raw_response.create(
        model="dev", messages=MESSAGES, temperature=0, stream=True, timeout=WAIT_SECONDS
    )
    events = list(raw.parse())
    assert (raw.headers["x-roundhouse-agent"], events[-1].choices[0].finish_reason) == ("dev", "length")
    whole = api.chat.completions.create(model="dev", messages=MESSAGES, temperature=0, stream=False)
    assert whole.choices[0].message.content


def test_cline(gateway, key):
    """Chat in a stream with its usage and tools; the tools choose themselves.

    cline/cline, src/core/api/providers/openai.ts `createMessage`: OpenAI's node client, whose requests have
    x-stainless-... headers, temperature 0, stream_options.include_usage and `tools`; no max_tokens.
    """
    stainless = {"X-Stainless-Lang": "js", "X-Stainless-Package-Version": "4.96.0", "X-Stainless-Retry-Count": "0"}
    headers = {"Authorization": f"Bearer {key()}", "User-Agent": "OpenAI/JS 4.96.0"} | stainless
    body = {"model": "dev", "messages": MESSAGES, "temperature": 0, "stream": True, "tools": TOOLS}
    status, events = post(
        gateway, "/v1/chat/completions", body | {"stream_options": {"include_usage": True}}, **headers
    )
    assert (status, events[-1]["choices"], "usage" in events[-1]) == (200, [], True)


def test_vs_code(gateway, key):
    """Chat in a stream with tools at the full address of the file chatLanguageModels.json.

    microsoft/vscode-copilot-chat, src/extension/byok/node/openAIEndpoint.ts: the address is used as it is, with a
    bearer token; `interceptBody` deletes max_tokens, and sends stream_options.include_usage and the tools.
    """
    body = {"model": "dev", "messages": MESSAGES, "stream": True, "n": 1, "temperature": 0.1, "top_p": 1}
    body |= {"stream_options": {"include_usage": True}, "tools": TOOLS, "tool_choice": "auto"}
    for port in (gateway.ports.any, gateway.ports.dev):
        status, events = post(
            gateway, "/v1/chat/completions", body, **{"Authorization": f"Bearer {key()}", "port": port}
        )
        assert (status, "usage" in events[-1]) == (200, True)
    listed = gateway.ask("GET", "/v1/models/dev", Authorization=f"Bearer {key()}")
    assert (listed.status, json.loads(listed.body)["id"]) == (200, "dev")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/dev"])
def test_a_client_without_the_key_reads_openais_error(gateway, path):
    answer = gateway.ask("GET", path, Authorization="Bearer not-needed")
    assert (answer.status, json.loads(answer.body)["error"]["type"]) == (401, "invalid_request_error")
