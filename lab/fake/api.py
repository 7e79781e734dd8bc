"""The fake engine's HTTP: what vLLM 0.32 answers on the same paths, as far as Roundhouse and OpenAI's client ask."""

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

    def do_GET(self) -> None:
        """Answer what is asked about the engine."""
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
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
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
        else:
            self.complete(body, chat, length)

    def complete(self, body: dict[str, Any], chat: bool, length: int) -> None:
        """Run a request: wait for a slot, make the tokens, count it while it is there."""
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
            except ConnectionError:  # the client went away: as vLLM, it is asked for nothing more
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
        """Yield the tokens, and end when the client has gone. Raises ConnectionError then."""
        for each in made:
            self.see_client()
            if each:
                self.engine.generated += 1
                yield each

    def see_client(self) -> None:
        """Raise ConnectionError when the client has gone."""
        with contextlib.suppress(BlockingIOError):  # it is there, and says nothing
            if not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise ConnectionAbortedError

    def whole(self, body: dict[str, Any], chat: bool) -> str:
        """Answer with one object, and return why it ended."""
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
        """Answer with an event a token, the usage where it is asked for, and [DONE]; return why it ended."""
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
                if call:  # whole, with the last one
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
        """Return what every answer begins with."""
        kind = f"chat.completion{part}" if chat else "text_completion"
        return {
            "id": f"cmpl-{time.monotonic_ns()}",
            "object": kind,
            "created": int(time.time()),
            "model": body["model"],
        }

    def refuse(self, status: int, message: str, kind: str) -> None:
        """Answer with an error as OpenAI's API has it."""
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
        """Say nothing: vLLM's access log is off for what is asked most."""


def ended(body: dict[str, Any], made: list[Token], call: dict[str, Any] | None) -> str:
    """Return why an answer ended, as vLLM names it: a call that had to be is one, a call of a named tool just stops."""
    if call:
        return "tool_calls" if body["tool_choice"] == "required" else "stop"
    return str(made[-1].reason)


def usage(body: dict[str, Any], made: int) -> dict[str, int]:
    """Return what a request has used."""
    count = sum(len(prompt.split()) for prompt in text.prompts(body))
    return {"prompt_tokens": count, "completion_tokens": made, "total_tokens": count + made}


class Server(ThreadingHTTPServer):
    """Lets nothing wait for open connections at its end."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that hung up, as HAProxy does once it has read how healthy the engine is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def wait(asked: threading.Event, crashed: threading.Event, seconds: float | None) -> bool:
    """Return whether it was asked within the seconds and before it crashed; without any, wait for ever.

    In short turns: a signal that the kernel gives to another thread does not wake the main one, where Python hears it.
    """
    end = float("inf") if seconds is None else time.monotonic() + seconds
    while not asked.wait(min(0.05, max(0.0, end - time.monotonic()))):
        if crashed.is_set() or time.monotonic() >= end:
            return False
    return True


def serve(engine: Engine) -> int:
    """Serve until a signal or a crash, let running requests end, and return the exit status."""
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
    time.sleep(0.1)  # the last answer's bytes are on their way
    return 0
