"""Add the defaults of an agent's role to requests, inside vLLM (its option --middleware). Shipped alone to hosts.

The file defaults.json beside this one has the defaults by served model name. It is read again when it was replaced, so
a change needs no restart. The request's own values win. A body that is too long, or no JSON object of a known model, is
passed on unchanged. The module uses the standard library only, and no other module of the package.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

FILE = Path(__file__).with_name("defaults.json")
CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
# A longer body passes without the defaults.
LONGEST_BYTES = 32 << 20
# The names of a request's limit of tokens. The first one is written.
_LIMITS = {
    CHAT: ("max_completion_tokens", "max_tokens"),
    COMPLETIONS: ("max_tokens",),
    RESPONSES: ("max_output_tokens",),
}
_SYSTEM_ROLES = ("system", "developer")
_REFUSED = 400
_LOG = logging.getLogger("vllm.roundhouse")


class Defaults:
    """The defaults by model name, as the file has them now. Raises OSError and ValueError if it is damaged at first."""

    def __init__(self, path: Path = FILE) -> None:
        self._path = path
        self._stamp = self._stamp_now()
        self._held = self._read()

    def of(self, model: object) -> dict[str, Any]:
        """Return the defaults of a served model, {} for another name. A damaged new file keeps the former values."""
        try:
            stamp = self._stamp_now()
            if stamp != self._stamp:
                self._stamp = stamp
                self._held = self._read()
        except (OSError, ValueError) as error:
            _LOG.warning("%s cannot be read, so the former defaults stay: %s", self._path, error)
        held = self._held.get(model) if isinstance(model, str) else None
        return held if isinstance(held, dict) else {}

    def _stamp_now(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> dict[str, Any]:
        held = json.loads(self._path.read_text(encoding="utf-8"))
        if not isinstance(held, dict):
            raise ValueError("its JSON is not an object")
        return held

    def applied(self, path: str, body: bytes, *, limit: bool = True) -> bytes | None:
        """Return a request's body with the defaults, None if it stays; without `limit` also without max_tokens."""
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            return None
        if not isinstance(asked, dict):
            return None
        own = self.of(asked.get("model"))
        added = _sampling(asked, own) | (_limit(path, asked, own) if limit else {}) | _prompt(path, asked, own)
        return json.dumps(asked | added).encode() if added else None


def _missing(asked: dict[str, Any], name: str) -> bool:
    return asked.get(name) is None


def _sampling(asked: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in own.get("sampling", {}).items() if _missing(asked, name)}


def _limit(path: str, asked: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    names = _LIMITS[path]
    wanted = "max_tokens" in own and all(_missing(asked, name) for name in names)
    return {names[0]: own["max_tokens"]} if wanted else {}


def _prompt(path: str, asked: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the system prompt, and the switch of thinking; completions have neither."""
    if path == COMPLETIONS:
        return {}
    system, added = own.get("system_prompt"), dict[str, Any]()
    messages = asked.get("messages")
    if path == RESPONSES and system and _missing(asked, "instructions"):
        added["instructions"] = system
    if path == CHAT and system and isinstance(messages, list) and not any(_is_system(each) for each in messages):
        added["messages"] = [{"role": "system", "content": system}, *messages]
    settings = asked.get("chat_template_kwargs")
    effort = "reasoning_effort" if path == CHAT else "reasoning"  # it switches thinking too
    if "thinking" in own and (settings is None or isinstance(settings, dict)) and _missing(asked, effort):
        wanted = {"enable_thinking": own["thinking"], **(settings or {})}
        if wanted != settings:
            added["chat_template_kwargs"] = wanted
    return added


def _is_system(message: object) -> bool:
    return isinstance(message, dict) and message.get("role") in _SYSTEM_ROLES


class RoleDefaults:
    """The ASGI middleware. It changes only the body of a request; answers and streams pass as they are."""

    def __init__(self, app: App, defaults: Defaults | None = None) -> None:
        self._app = app
        self._defaults = defaults or Defaults()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or scope.get("method") != "POST" or path not in _LIMITS:
            await self._app(scope, receive, send)
            return
        body, read = await _whole(receive)
        changed = self._defaults.applied(path, body) if body is not None else None
        if body is None or changed is None:
            await self._app(scope, _replay(read, receive), send)
            return
        # A default limit may exceed the rest of max_model_len, which vLLM refuses. Then the rest is the limit.
        without = self._defaults.applied(path, body, limit=False) or body
        if without == changed:
            await self._app(*_request(scope, changed, receive), send)
            return
        held = _HeldRefusal(send)
        await self._app(*_request(scope, changed, receive), held.send)
        if held.refused:
            await self._app(*_request(scope, without, receive), send)


class _HeldRefusal:
    """Pass an answer on, except one with status 400, which is dropped."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.refused = False

    async def send(self, message: Message) -> None:
        """Pass one message of the answer."""
        if message["type"] == "http.response.start":
            self.refused = message["status"] == _REFUSED
        if not self.refused:
            await self._send(message)


async def _whole(receive: Receive) -> tuple[bytes | None, list[Message]]:
    """Return a request's body and the messages that had it; None if it is too long or the client has gone."""
    read: list[Message] = []
    size = 0
    while True:
        message = await receive()
        read.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or size > LONGEST_BYTES:
            return None, read
        if not message.get("more_body"):
            return b"".join(each.get("body", b"") for each in read), read


def _replay(read: list[Message], receive: Receive) -> Receive:
    """Return a receive() that repeats messages, and continues with those that come later."""
    left = list(read)

    async def again() -> Message:
        return left.pop(0) if left else await receive()

    return again


def _request(scope: Message, body: bytes, receive: Receive) -> tuple[Message, Receive]:
    """Return a request with another body."""
    length = (b"content-length", str(len(body)).encode())
    headers = [length if name.lower() == b"content-length" else (name, value) for name, value in scope["headers"]]
    message: Message = {"type": "http.request", "body": body, "more_body": False}
    return {**scope, "headers": headers}, _replay([message], receive)
