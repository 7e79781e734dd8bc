"""Send a conversation to an agent over the OpenAI API, and yield the answer as it arrives."""

from __future__ import annotations

import http.client
import json
import select
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypedDict

from ..errors import RoundhouseError
from ..util import console
from .endpoint import Endpoint

PATH = "/v1/chat/completions"
_CONNECT_SECONDS = 10.0
# The gateway's own limit for a silent engine (`timeout server`).
_SILENT_SECONDS = 3600.0
_TICK_SECONDS = 0.25
_ERROR_BYTES = 65536


class Message(TypedDict):
    """One message of a conversation."""

    role: str  # system, user or assistant
    content: str


class Part(NamedTuple):
    """A part of an answer. The last part of a complete answer has `reason`, and `usage` where the engine states it."""

    text: str = ""
    reasoning: str = ""
    reason: str | None = None  # stop, length, ...
    usage: dict[str, int] | None = None


# Called several times a second until the answer begins, with the seconds since the request.
Waiting = Callable[[float], None]


def ask(
    at: Endpoint, messages: list[Message], waiting: Waiting, max_tokens: int | None = None
) -> Generator[Part, None, None]:
    """Yield the parts of the answer. Closing the iterator closes the connection, which stops the engine's work.

    Raises RoundhouseError: agent_not_loaded, key_refused, request_refused, rate_limited, agent_failed or answer_cut.
    """
    body: dict[str, object] = {"model": at.agent, "messages": messages, "stream": True}
    body |= {"stream_options": {"include_usage": True}}
    body |= {} if max_tokens is None else {"max_tokens": max_tokens}
    with _connection(at) as connection:
        response = _response(at, connection, json.dumps(body), waiting)
        if response.status != http.client.OK:
            raise _refusal(at, response)
        yield from _parts(at, response)


@contextmanager
def _connection(at: Endpoint) -> Iterator[http.client.HTTPConnection]:
    if at.tls:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            at.host, at.port, timeout=_CONNECT_SECONDS, context=at.tls
        )
    else:
        connection = http.client.HTTPConnection(at.host, at.port, timeout=_CONNECT_SECONDS)
    try:
        yield connection
    finally:
        connection.close()


def _response(
    at: Endpoint, connection: http.client.HTTPConnection, body: str, waiting: Waiting
) -> http.client.HTTPResponse:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {at.key}"} if at.key else {})
    try:
        connection.connect()
    except OSError as error:
        raise _not_loaded(at, f"port {at.port}: {error.strerror or error}") from None
    connection.sock.settimeout(_SILENT_SECONDS)
    try:
        connection.request("POST", PATH, body, headers)
        begun = time.monotonic()
        while not select.select([connection.sock], [], [], _TICK_SECONDS)[0]:
            waiting(time.monotonic() - begun)
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise _cut(at, error) from None


def _parts(at: Endpoint, response: http.client.HTTPResponse) -> Iterator[Part]:
    """Yield the parts of a stream of server-sent events. Raises RoundhouseError when it ends early."""
    try:
        for line in response:
            data = line.decode(errors="replace").strip().partition("data:")[2].strip()
            if data == "[DONE]":
                return
            if data:
                yield _part(at, json.loads(data))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _cut(at, error) from None
    raise _cut(at, None)


def _part(at: Endpoint, event: dict[str, Any]) -> Part:
    if "error" in event:
        raise _failed(at, _message(event))
    choice = (event.get("choices") or [{}])[0]
    delta, reason = choice.get("delta") or {}, choice.get("finish_reason")
    if reason == "abort":  # vLLM's word for a request that ended with its engine
        raise _cut(at, None)
    reasoning = delta.get("reasoning") or delta.get("reasoning_content") or ""
    return Part(delta.get("content") or "", reasoning, reason, event.get("usage"))


def _refusal(at: Endpoint, response: http.client.HTTPResponse) -> RoundhouseError:
    """Return the error of a response that is not an answer."""
    status, raw = response.status, response.read(_ERROR_BYTES)
    try:
        why = _message(json.loads(raw))
    except ValueError:
        why = raw[:200].decode(errors="replace").strip() or response.reason
    if status == http.client.SERVICE_UNAVAILABLE:
        return _not_loaded(at, why)
    if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        text, remedy = "The gateway refused the key.", "{program} keys lists the names; --key FILE sends another key."
        return RoundhouseError("key_refused", text, remedy, program=console.command_name(), why=why)
    if status == http.client.TOO_MANY_REQUESTS:
        seconds = response.getheader("Retry-After") or "60"
        text, remedy = "The gateway limits the requests of this key: {why}", "Try again in {seconds} s."
        return RoundhouseError("rate_limited", text, remedy, why=why, seconds=seconds)
    if status < http.client.INTERNAL_SERVER_ERROR:
        text = "{agent} refused the request (status {status}): {why}"
        remedy = "Shorten the question; in a conversation, /clear starts a new one."
        return RoundhouseError("request_refused", text, remedy, agent=at.agent, status=status, why=why)
    return _failed(at, why)


def _message(answer: Any) -> str:
    """Return the sentence of an API's error, of OpenAI's form or vLLM's older one."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    told = error.get("message") or error.get("detail") or error if isinstance(error, dict) else error
    return str(told)


def _not_loaded(at: Endpoint, why: str) -> RoundhouseError:
    text, remedy = "{agent} does not answer ({why}).", "Start it with {program} {agent}; {program} status shows all."
    return RoundhouseError("agent_not_loaded", text, remedy, agent=at.agent, why=why, program=console.command_name())


def _failed(at: Endpoint, why: str) -> RoundhouseError:
    text, remedy = "{agent} failed: {why}", "{program} doctor looks for the cause."
    return RoundhouseError("agent_failed", text, remedy, agent=at.agent, why=why, program=console.command_name())


def _cut(at: Endpoint, error: Exception | None) -> RoundhouseError:
    why = (str(error) or type(error).__name__) if error else "without its end"
    text = "The answer of {agent} ended early ({why}): the agent was stopped, or it failed."
    remedy = "{program} status shows the agents."
    return RoundhouseError("answer_cut", text, remedy, agent=at.agent, why=why, program=console.command_name())
