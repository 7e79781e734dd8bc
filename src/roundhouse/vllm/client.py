"""Query one vLLM engine on this host over HTTP: health, models, version, metrics and a canary completion.

Metrics have vLLM's own names (v1/metrics/loggers.py), without the prefix "vllm:".
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import math
import re
import socket
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

from ..errors import RoundhouseError
from ..util import deadline, json_file

# An answer with this many equal tokens in a row ("!!!!!!!!") is taken as a sign of corrupt weights or kernels.
_STUCK_TOKENS = 12

_METRIC = re.compile(r"^vllm:(\w+)(?:{[^}\n]*})? (\S{1,40})$", re.MULTILINE)
# Root reads the answers, and an engine runs a model of someone else. /metrics of a busy engine has 200 KiB.
LARGEST_BYTES = 4 << 20


class Answer(NamedTuple):
    """A canary's text and its token ids; the ids are None if the engine does not return them."""

    text: str
    token_ids: list[int] | None


class Load(NamedTuple):
    """An engine's load: running and waiting requests, and the share of the KV cache in use (0 to 1)."""

    running: int
    waiting: int
    kv_use: float | None


class ServedModel(TypedDict):
    """An entry of /v1/models."""

    id: str  # the agent's name
    root: str  # the folder
    max_model_len: int


class Engine:
    """Query the engine at one address. No connection is kept between calls."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    def healthy(self) -> bool:
        """Return true if /health answers 200; false if the connection is refused, reset or times out (2 s)."""
        try:
            return self._request("GET", "/health", None, 2.0)[0] == 200
        except OSError:
            return False

    def listens(self) -> bool:
        """Return true if the port accepts connections; an engine that hangs still does."""
        try:
            with _connected(self.host, self.port, 1.0):
                return True
        except OSError:
            return False

    def served(self, timeout_seconds: float = 5.0) -> list[ServedModel]:
        """Return the entries of /v1/models. Raises RoundhouseError."""
        found = self._json("GET", "/v1/models", None, timeout_seconds).get("data")
        if not isinstance(found, list) or not all(isinstance(_object(each).get("id"), str) for each in found):
            raise self._unreadable("/v1/models")
        return found

    def version(self, timeout_seconds: float = 5.0) -> str:
        """Return the engine's own version. Raises RoundhouseError."""
        found = self._json("GET", "/version", None, timeout_seconds).get("version")
        if not isinstance(found, str):
            raise self._unreadable("/version")
        return found

    def load(self, timeout_seconds: float = 2.0) -> Load | None:
        """Return the engine's load from /metrics, None if it does not report one."""
        found = self.metrics(timeout_seconds)
        if "num_requests_running" not in found:
            return None
        return Load(
            running=int(found["num_requests_running"]),
            waiting=int(found.get("num_requests_waiting", 0)),
            kv_use=found.get("kv_cache_usage_perc"),
        )

    def metrics(self, timeout_seconds: float = 2.0) -> dict[str, float]:
        """Return each number of /metrics by its name; {} if the engine does not answer."""
        try:
            status, raw = self._request("GET", "/metrics", None, timeout_seconds)
        except OSError:
            return {}
        return parse(raw.decode(errors="replace")) if status == 200 else {}

    def canary(self, name: str, prompt: str, max_tokens: int, timeout_seconds: float) -> Answer:
        """Return one greedy chat completion of the served model `name`.

        Raises RoundhouseError if the answer is an error, comes from another model, or is empty, cut or unreadable.
        """
        body = {
            "model": name,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": max_tokens,
            "return_token_ids": True,
        }
        answer = self._json("POST", "/v1/chat/completions", body, timeout_seconds)
        choices = answer.get("choices")
        choice = _object(choices[0] if isinstance(choices, list) and choices else None)
        text = str(_object(choice.get("message")).get("content") or "")
        if answer.get("model") != name:
            raise RoundhouseError(
                "canary_wrong_model",
                "The engine on port {port} answered as the wrong model, {model!r}.",
                "Find the process with `ss --listening --tcp --processes` and stop it.",
                port=self.port,
                model=answer.get("model"),
            )
        ids, reason = _numbers(choice.get("token_ids")), str(choice.get("finish_reason"))
        values = {"agent": name, "answer": text, "reason": reason}
        # A vLLM that is stopped during a request answers 200 with finish_reason "abort".
        if reason not in ("stop", "length") or not text.strip():
            message = "{agent} returned an incomplete answer, {answer!r} (finish_reason {reason})."
            raise RoundhouseError("canary_no_answer", message, **values)
        if not any(letter.isalnum() for letter in text) or _is_stuck(ids or []):
            message = "{agent} returned unreadable text, {answer!r}; its weights or kernels are probably corrupt."
            remedy = "Check the model's files with `roundhouse verify`."
            raise RoundhouseError("canary_no_text", message, remedy, **values)
        return Answer(text, ids)

    def ask(
        self, path: str, body: Mapping[str, object], timeout_seconds: float, limit_bytes: int = LARGEST_BYTES
    ) -> dict[str, Any]:
        """Send one JSON object by POST and return the answer. Raises RoundhouseError."""
        return self._json("POST", path, body, timeout_seconds, limit_bytes)

    def _unreadable(self, path: str) -> RoundhouseError:
        url = f"{self.host}:{self.port}{path}"
        return RoundhouseError("engine_unanswered", "{url} did not answer: {reason}.", url=url, reason="no such object")

    def _json(
        self, method: str, path: str, body: object, timeout_seconds: float, limit_bytes: int = LARGEST_BYTES
    ) -> dict[str, Any]:
        url = f"{self.host}:{self.port}{path}"
        try:
            status, raw = self._request(method, path, body, timeout_seconds, limit_bytes)
            answer = json_file.parse(raw)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise RoundhouseError(
                "engine_unanswered", "{url} did not answer: {reason}.", url=url, reason=reason
            ) from None
        if status != 200 or not isinstance(answer, dict):
            text = raw[:200].decode(errors="replace")
            raise RoundhouseError(
                "engine_refused", "{url} answered {status}: {answer!r}.", url=url, status=status, answer=text
            )
        return answer

    def _request(
        self, method: str, path: str, body: object, timeout_seconds: float, limit_bytes: int = LARGEST_BYTES
    ) -> tuple[int, bytes]:
        """Return the status and the body. Raises OSError, also after `timeout_seconds` or `limit_bytes` of body."""
        end = time.monotonic() + timeout_seconds
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_seconds)
        try:
            connection.sock = _connected(self.host, self.port, timeout_seconds)
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            with contextlib.closing(_Response(connection.sock, method, end)) as response:
                response.begin()
                return response.status, response.content(limit_bytes)
        except http.client.HTTPException as error:
            raise OSError(f"invalid HTTP response: {error!r}") from None
        finally:
            connection.close()


class _Response(http.client.HTTPResponse):
    """A response with one deadline for its status, headers and body."""

    def __init__(self, connection: socket.socket, method: str, end: float) -> None:
        super().__init__(connection, method=method)
        self.fp = io.BufferedReader(deadline.Reader(connection, lambda: end))

    def content(self, limit_bytes: int) -> bytes:
        """Return the whole body. Raises OSError for one that ends early or is longer than the limit."""
        found = self.read(limit_bytes + 1)
        if len(found) > limit_bytes:
            raise OSError(f"its answer is longer than {limit_bytes} bytes")
        if self.length:
            raise http.client.IncompleteRead(found, self.length)
        return found


def _connected(host: str, port: int, timeout_seconds: float) -> socket.socket:
    """Return a connection. Raises OSError.

    socket.create_connection imports the tables of international names, also for an address, which a plan has.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.settimeout(timeout_seconds)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.connect((host, port))
    except BaseException:
        made.close()
        raise
    return made


def _object(value: object) -> dict[str, Any]:
    """Return a JSON object, an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def _numbers(value: object) -> list[int] | None:
    """Return a list of numbers, None for anything else."""
    return value if isinstance(value, list) and all(isinstance(each, int) for each in value) else None


def _is_stuck(ids: list[int]) -> bool:
    return any(len(set(ids[at : at + _STUCK_TOKENS])) == 1 for at in range(len(ids) - _STUCK_TOKENS + 1))


def read(host: str, port: int, timeout_seconds: float = 2.0) -> dict[str, float]:
    """Return each number of an engine's /metrics by its name; {} if the engine does not answer."""
    return Engine(host, port).metrics(timeout_seconds)


def parse(text: str) -> dict[str, float]:
    """Return the numbers of a /metrics text by name: summed over engine cores and labels; for shares the maximum."""
    found: dict[str, float] = {}
    for name, value in _METRIC.findall(text):
        before, now = found.get(name, 0.0), _number(value)
        if now is None:
            continue
        found[name] = max(before, now) if name.endswith("_perc") else before + now
    return found


def _number(text: str) -> float | None:
    """Return a finite number, None for another text."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
