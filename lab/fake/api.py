"""The fake engine's HTTP API: the answers of vLLM 0.32 to the requests of Roundhouse and OpenAI's client."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import text
from engine import Engine
from text import Sampling, Token


class Api(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    engine: Engine

    def handle_one_request(self) -> None:
        """Wait for the next request as long as vLLM, which closes a connection that is idle for longer."""
        self.connection.settimeout(float(os.environ.get("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "5")))
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Read a request whose first line has arrived, without that limit."""
        self.connection.settimeout(None)
        return super().parse_request()

    def do_GET(self) -> None:
        """Answer a request about the engine."""
        engine = self.engine
        if self.path == "/health":
            self.reply(503 if engine.dead else 200, b"", "text/plain")
        elif self.path == "/metrics":
            self.reply(200, engine.metrics().encode(), "text/plain; version=0.0.4")
        elif self.path == "/version":
            self.answer(200, {"version": engine.version})
        elif self.path == "/v1/models":
            card = {"id": engine.name, "object": "model", "owned_by": "vllm", "root": engine.model}
            self.answer(200, {"object": "list", "data": [card | {"max_model_len": engine.max_model_len}]})
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        """Answer a completion."""
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}"
        if self.engine.role and self.path in ("/v1/chat/completions", "/v1/completions"):
            raw = self.engine.role(self.path, raw) or raw
        body = json.loads(raw)
        chat = self.path == "/v1/chat/completions"
        length = max(len(prompt.split()) for prompt in text.prompts(body) or [""])
        if self.path == "/tokenize":
            self.answer(200, {"count": length, "max_model_len": self.engine.max_model_len})
            return
        if not chat and self.path != "/v1/completions":
            self.answer(404, {"detail": "Not Found"})
        elif self.engine.draining or self.engine.dead:
            self.reply(500, b"Internal Server Error", "text/plain")
        elif body.get("model") != self.engine.name:
            self.refuse(404, f"The model `{body.get('model')}` does not exist.", "NotFoundError")
        elif length > self.engine.max_model_len:
            most = self.engine.max_model_len
            self.refuse(400, f"This model's maximum context length is {most} tokens.", "BadRequestError")
        elif chat and body.get("tools") and body.get("tool_choice", "auto") == "auto" and not self.engine.chooses_tools:
            needed = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
            self.refuse(400, needed, "BadRequestError")
        else:
            self.complete(body, chat, length)

    def complete(self, body: dict[str, Any], chat: bool, length: int) -> None:
        """Run a request: wait for a slot, generate the tokens, count the request while it runs."""
        engine = self.engine
        engine.wait_for_core()
        with engine.lock:
            engine.waiting += 1
        with engine.slots:
            with engine.lock:
                engine.waiting, engine.running = engine.waiting - 1, engine.running + 1
            reason = "error"
            try:
                if engine.faults.crash_when_asked:
                    engine.crashed.set()
                while engine.faults.hang or engine.faults.crash_when_asked:
                    time.sleep(1)
                for _ in engine.read(length):
                    self.see_client()
                reason = self.stream(body, chat) if body.get("stream") else self.whole(body, chat)
            except ConnectionError:  # the client disconnected, and the request is aborted as in vLLM
                self.close_connection, reason = True, "abort"
            finally:
                with engine.lock:
                    engine.running -= 1
                    engine.finished[reason] += 1

    def choices(self, body: dict[str, Any]) -> Iterator[tuple[int, Iterator[Token]]]:
        """Yield each choice's index and tokens; count the prompts."""
        engine, sampling, many = self.engine, Sampling.of(body, self.engine.defaults), int(body.get("n") or 1)
        for place, prompt in enumerate(text.prompts(body)):
            engine.prompted += len(prompt.split())
            engine.prefixes.read(prompt.split())
            for choice in range(many):
                yield place * many + choice, self.while_asked(engine.tokens(prompt, sampling, choice))

    def while_asked(self, made: Iterator[Token | None]) -> Iterator[Token]:
        """Yield the tokens. Raises ConnectionError when the client disconnects."""
        for each in made:
            self.see_client()
            if each:
                self.engine.generated += 1
                yield each

    def see_client(self) -> None:
        """Raise ConnectionError if the client has disconnected."""
        with contextlib.suppress(BlockingIOError):  # the client is connected and silent
            if not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise ConnectionAbortedError

    def whole(self, body: dict[str, Any], chat: bool) -> str:
        """Answer with one object, and return why the answer ended."""
        call = text.tool_call(body) if chat else None
        told, count = [], 0
        for index, tokens in self.choices(body):
            made = list(tokens)
            count += len(made)
            reason = ended(body, made, call)
            said = "" if call else "".join(each.text for each in made)
            message: dict[str, Any] = {"role": "assistant", "content": said, "tool_calls": [call] if call else []}
            content: dict[str, Any] = {"message": message} if chat else {"text": said}
            ids = [each.number for each in made] if body.get("return_token_ids") else None
            told.append({"index": index, **content, "finish_reason": reason, "token_ids": ids})
        self.answer(200, self.head(body, chat, "") | {"choices": told, "usage": usage(body, count)})
        return "length" if told[-1]["finish_reason"] == "length" else "stop"

    def stream(self, body: dict[str, Any], chat: bool) -> str:
        """Answer with one event per token, the usage if requested, and [DONE]; return why the answer ended."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        call = text.tool_call(body) if chat else None
        count, reason = 0, ""
        for index, tokens in self.choices(body):
            for each in tokens:
                count += 1
                reason = ended(body, [each], call) if each.reason else None
                delta: dict[str, Any] = {"content": each.text}
                if call:  # the complete call comes with the last event
                    delta = {"tool_calls": [{"index": 0, **call}]} if reason else {"content": ""}
                content = {"delta": delta} if chat else {"text": each.text}
                choice = {"index": index, **content, "finish_reason": reason}
                self.event(json.dumps(self.head(body, chat, ".chunk") | {"choices": [choice]}))
        if (body.get("stream_options") or {}).get("include_usage"):
            self.event(json.dumps(self.head(body, chat, ".chunk") | {"choices": [], "usage": usage(body, count)}))
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")
        return "length" if reason == "length" else "stop"

    def event(self, data: str) -> None:
        """Send one event as one chunk."""
        raw = f"data: {data}\n\n".encode()
        self.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")

    @staticmethod
    def head(body: dict[str, Any], chat: bool, part: str) -> dict[str, Any]:
        """Return the fields that begin every answer."""
        kind = f"chat.completion{part}" if chat else "text_completion"
        return {
            "id": f"cmpl-{time.monotonic_ns()}",
            "object": kind,
            "created": int(time.time()),
            "model": body["model"],
        }

    def refuse(self, status: int, message: str, kind: str) -> None:
        """Answer with an error in the format of OpenAI's API."""
        self.answer(status, {"error": {"message": message, "type": kind, "code": status}})

    def answer(self, status: int, content: Any) -> None:
        """Answer with JSON."""
        self.reply(status, json.dumps(content).encode(), "application/json")

    def reply(self, status: int, raw: bytes, kind: str) -> None:
        """Answer with bytes."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *arguments: object) -> None:
        """Log nothing, because vLLM's access log is off for the most frequent requests."""


def ended(body: dict[str, Any], made: list[Token], call: dict[str, Any] | None) -> str:
    """Return vLLM's finish reason: "tool_calls" for a required call, "stop" for a call of a named tool."""
    if call:
        return "tool_calls" if body["tool_choice"] == "required" else "stop"
    return str(made[-1].reason)


def usage(body: dict[str, Any], made: int) -> dict[str, int]:
    """Return the token counts of a request."""
    count = sum(len(prompt.split()) for prompt in text.prompts(body))
    return {"prompt_tokens": count, "completion_tokens": made, "total_tokens": count + made}


class Server(ThreadingHTTPServer):
    """An HTTP server that does not wait for open connections when it stops."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore disconnected clients, such as HAProxy after a health check."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def wait(asked: threading.Event, crashed: threading.Event, seconds: float | None) -> bool:
    """Return whether `asked` is set within `seconds` and before `crashed`; None waits without a limit.

    The function polls, because a signal that the kernel delivers to another thread does not wake the main thread, which
    runs Python's handler.
    """
    end = float("inf") if seconds is None else time.monotonic() + seconds
    while not asked.wait(min(0.05, max(0.0, end - time.monotonic()))):
        if crashed.is_set() or time.monotonic() >= end:
            return False
    return True


def serve(engine: Engine) -> int:
    """Serve until a signal or a crash, finish running requests, and return the exit status."""
    Api.engine = engine
    try:
        server = Server(engine.address, Api)
    except OSError as error:
        print(f"OSError: [Errno {error.errno}] {error.strerror}", flush=True)
        return 1
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asked = threading.Event()
    if not engine.faults.ignore_term:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: asked.set())
    print(f"(APIServer pid={os.getpid()}) INFO Starting vLLM server on http://{engine.address[0]}:{engine.address[1]}")
    print("INFO:     Application startup complete.", flush=True)
    if not wait(asked, engine.crashed, engine.faults.crash_after):
        print(
            "EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.", flush=True
        )
        engine.dead = True
        time.sleep(0.5)
        return 0
    engine.draining = True
    end = time.monotonic() + engine.shutdown_seconds
    while engine.running + engine.waiting and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.1)  # until the last answer's bytes are sent
    return 0
