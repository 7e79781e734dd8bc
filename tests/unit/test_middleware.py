"""The middleware in vLLM: defaults of a role, the request's own values, and bodies that stay as they are."""

import asyncio
import importlib
import json
import os

import pytest

from roundhouse.plan import roles
from roundhouse.vllm import middleware
from roundhouse.vllm.middleware import CHAT, COMPLETIONS, FILE, LONGEST_BYTES, RESPONSES

OWN = {
    "sampling": {"temperature": 0.3, "top_p": 0.9, "top_k": 20},
    "system_prompt": "You review code.",
    "thinking": False,
    "max_tokens": 50,
}
ASKED = {"role": "user", "content": "Hello"}


@pytest.fixture
def file(tmp_path):
    """Return the file of the defaults of dev, with a function that replaces it as the command does."""
    path = tmp_path / "defaults.json"
    path.write_text(json.dumps({"dev": OWN}))
    return path


def replace(path, text):
    aside = path.with_name("aside")
    aside.write_text(text)
    aside.rename(path)


class Server:
    """An app behind the middleware: it keeps each request that it reads, and answers with the statuses in turn."""

    def __init__(self, file, statuses=(200,)):
        self.seen, self.later, self.sent, self.statuses = [], [], [], list(statuses)
        self.app = middleware.RoleDefaults(self.answer, middleware.Defaults(file))

    async def answer(self, scope, receive, send):
        body, message = b"", {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        self.seen.append((scope, body))
        self.later.append((await receive())["type"])
        await send({"type": "http.response.start", "status": self.statuses.pop(0), "headers": []})
        for part in (b"data: 1\n\n", b"data: 2\n\n"):
            await send({"type": "http.response.body", "body": part, "more_body": part.endswith(b"1\n\n")})

    def ask(self, path, body, *, method="POST", chunks=1):
        """Send a body in chunks; return what the app read, as JSON if it is JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        size = -(-len(raw) // chunks) or 1
        parts = [raw[at : at + size] for at in range(0, len(raw), size)] or [b""]
        messages = [
            {"type": "http.request", "body": part, "more_body": number + 1 < len(parts)}
            for number, part in enumerate(parts)
        ]
        headers = [(b"content-type", b"application/json"), (b"Content-Length", str(len(raw)).encode())]
        scope = {"type": "http", "method": method, "path": path, "headers": headers}

        async def receive():
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message):
            self.sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        read_scope, read = self.seen[-1]
        lengths = [value for name, value in read_scope["headers"] if name.lower() == b"content-length"]
        assert lengths == [str(len(read)).encode()]
        assert read_scope["headers"][0] == headers[0]
        return read if isinstance(body, bytes) else json.loads(read)


def asked(file, path, **body):
    return Server(file).ask(path, {"model": "dev", **body})


def test_a_chat_gets_what_it_leaves_out(file):
    assert asked(file, CHAT, messages=[ASKED]) == {
        **OWN["sampling"],
        "model": "dev",
        "messages": [{"role": "system", "content": "You review code."}, ASKED],
        "chat_template_kwargs": {"enable_thinking": False},
        "max_completion_tokens": 50,
    }


def test_the_requests_own_values_win(file):
    own = {
        "model": "dev",
        "messages": [{"role": "system", "content": "Be brief."}, ASKED],
        **{"temperature": 0, "top_p": 1.0, "top_k": 0, "max_tokens": 7},
        "chat_template_kwargs": {"enable_thinking": True},
    }
    raw = json.dumps(own, indent=3).encode()
    assert Server(file).ask(CHAT, raw) == raw


@pytest.mark.parametrize(
    ("path", "body", "absent"),
    [
        (CHAT, {"messages": [{"role": "developer", "content": "x"}]}, ("system",)),
        (CHAT, {"messages": [ASKED], "reasoning_effort": "high"}, ("chat_template_kwargs",)),
        (RESPONSES, {"input": "Hello", "reasoning": {"effort": "high"}}, ("chat_template_kwargs",)),
        (COMPLETIONS, {"prompt": "The"}, ("chat_template_kwargs", "messages", "max_completion_tokens")),
        (RESPONSES, {"input": "Hello"}, ("messages", "max_tokens", "max_completion_tokens")),
    ],
)
def test_a_default_is_added_only_where_it_belongs(file, path, body, absent):
    read = asked(file, path, **body)
    assert read["temperature"] == 0.3
    assert not {*absent} & {*read, *(each["role"] for each in read.get("messages", []))}


def test_each_api_has_its_own_names(file):
    assert asked(file, COMPLETIONS, prompt="The")["max_tokens"] == 50
    read = asked(file, RESPONSES, input="Hello")
    assert (read["instructions"], read["max_output_tokens"]) == ("You review code.", 50)


def test_other_settings_of_the_chat_template_stay(file):
    read = asked(file, CHAT, messages=[ASKED], chat_template_kwargs={"lang": "de"})
    assert read["chat_template_kwargs"] == {"lang": "de", "enable_thinking": False}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe{",
        b'"dev"',
        b'{"model": "other", "prompt": "x"}',
        b'{"model": ["dev"]}',
        b'{"model": "dev", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"dev","prompt":"' + b"x" * LONGEST_BYTES + b'"}',
    ],
    ids=["empty", "cut", "a list", "no UTF-8", "a string", "another model", "a list of models", "deep", "long"],
)
def test_any_other_body_stays_as_it_is(file, raw):
    server = Server(file)
    assert server.ask(COMPLETIONS, raw, chunks=5) == raw
    assert server.later == ["http.disconnect"]


@pytest.mark.parametrize(("path", "method"), [("/tokenize", "POST"), ("/v1/models", "GET"), (CHAT, "GET")])
def test_other_requests_stay_as_they_are(file, path, method):
    raw = json.dumps({"model": "dev", "messages": [ASKED]}).encode()
    assert Server(file).ask(path, raw, method=method) == raw


def test_a_body_in_chunks_is_one_body_and_a_disconnect_is_seen(file):
    server = Server(file)
    assert server.ask(CHAT, {"model": "dev", "messages": [ASKED]}, chunks=4)["temperature"] == 0.3
    assert server.later == ["http.disconnect"]


def test_characters_of_any_language_and_lone_surrogates_stay(file):
    text = "Grüße 你好 \ud800"
    assert asked(file, COMPLETIONS, prompt=text)["prompt"] == text


def test_a_stream_passes_message_by_message(file):
    server = Server(file)
    server.ask(CHAT, {"model": "dev", "messages": [ASKED], "stream": True})
    assert [message.get("body") for message in server.sent] == [None, b"data: 1\n\n", b"data: 2\n\n"]


def test_a_limit_beyond_the_rest_of_max_model_len_is_left_out(file):
    server = Server(file, statuses=(400, 200))
    read = server.ask(CHAT, {"model": "dev", "messages": [ASKED]})
    assert "max_completion_tokens" not in read
    assert read["temperature"] == 0.3
    assert json.loads(server.seen[0][1])["max_completion_tokens"] == 50
    assert [message.get("status") for message in server.sent] == [200, None, None]


def test_a_refusal_for_another_reason_is_the_clients(file):
    server = Server(file, statuses=(400, 400))
    server.ask(COMPLETIONS, {"model": "dev", "prompt": "x"})
    assert server.sent[0]["status"] == 400
    assert len(server.sent) == 3
    own = Server(file, statuses=(400,))
    own.ask(COMPLETIONS, {"model": "dev", "prompt": "x", "max_tokens": 5})
    assert own.sent[0]["status"] == 400


def test_a_replaced_file_is_read_and_a_damaged_one_is_not(file, caplog):
    server = Server(file, statuses=(200,) * 4)

    def temperature():
        return server.ask(COMPLETIONS, {"model": "dev", "prompt": "x"})["temperature"]

    assert temperature() == 0.3
    replace(file, json.dumps({"dev": {"sampling": {"temperature": 0.9}}}))
    assert temperature() == 0.9
    replace(file, "{")
    assert temperature() == 0.9
    assert "the former defaults stay" in caplog.text
    file.unlink()
    assert temperature() == 0.9


def test_a_file_of_the_same_time_and_size_is_read_again(file):
    server = Server(file, statuses=(200, 200))
    server.ask(COMPLETIONS, {"model": "dev", "prompt": "x"})
    before = file.stat()
    replace(file, file.read_text().replace("0.3", "0.4"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert server.ask(COMPLETIONS, {"model": "dev", "prompt": "x"})["temperature"] == 0.4


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_an_engine_does_not_start_without_its_defaults(tmp_path, text):
    path = tmp_path / "defaults.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises((OSError, ValueError)):
        middleware.RoleDefaults(None, middleware.Defaults(path))


def test_the_written_files_are_those_of_the_middleware(tmp_path, monkeypatch):
    made = roles.files({"name": "dev", "role_defaults": {"sampling": {"temperature": 0.3}}})
    module, defaults = made
    assert (module, defaults) == tuple(
        f"/etc/roundhouse/roles/dev/{name}" for name in ("roundhouse_roles.py", FILE.name)
    )
    assert json.loads(made[defaults]) == {"dev": {"sampling": {"temperature": 0.3}}}
    assert (roles.is_read_live(defaults), roles.is_read_live(module)) == (True, False)
    for path, text in made.items():
        (tmp_path / path.rpartition("/")[2]).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    name, _, kind = roles.MIDDLEWARE.rpartition(".")
    imported = getattr(importlib.import_module(name), kind)  # as vLLM does
    assert json.loads(imported(None)._defaults.applied(COMPLETIONS, b'{"model": "dev"}'))["temperature"] == 0.3
