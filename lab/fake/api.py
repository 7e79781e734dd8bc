"""The fake engine's HTTP: what vLLM 0.32 answers on the same paths, as far as Roundhouse and OpenAI's client ask."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WORDS = ("the", " plan", " is", " a", " list", " of", " small", " steps", ",", " each", " one", " tested", " and", ".")


class Engine:
    """What is served, what runs, and what is to go wrong."""

    def __init__(self, config: dict[str, str], faults: argparse.Namespace, version: str) -> None:
        self.version = version
        self.name = config["served-model-name"] + ("-other" if faults.wrong_name else "")
        self.model = config["model"]
        self.address = (config["host"], int(config["port"]))
        self.max_model_len = int(config.get("max-model-len", 4096))
        self.shutdown_seconds = float(config.get("shutdown-timeout", 0))
        self.slots = threading.Semaphore(int(config.get("max-num-seqs", 256)))
        self.faults = faults
        self.lock = threading.Lock()
        self.running = self.waiting = self.generated = self.finished = 0
        self.dead = self.draining = False
        self.crashed = threading.Event()
        self.reading = 0.0  # share of the prompts that are being read
        self.told = ""

    def tokens(self, prompt: str, count: int) -> Iterator[tuple[int, str] | None]:
        """Yield token ids and texts, the same for the same model and prompt, at the engine's speed; None: it waits."""
        seed = f"{self.model}{'x' if self.faults.answer_differently else ''}{prompt}"
        digest = hashlib.sha256(seed.encode()).digest()
        for place in range(count):
            time.sleep(1 / self.faults.tokens_per_second)
            while self.faults.answer_while and Path(self.faults.answer_while).exists():
                time.sleep(0.02)
                yield None
            number = 0 if self.faults.rubbish else 1 + (digest[place % 32] + place) % len(WORDS)
            yield number, "!" if self.faults.rubbish else WORDS[number - 1]

    def wait_for_core(self) -> None:
        """Wait as long as the core is stopped."""
        while self.core_is_stopped():
            time.sleep(0.02)

    def core_is_stopped(self) -> bool:
        """Return whether only the API answers."""
        return bool(self.faults.core_stopped_while) and Path(self.faults.core_stopped_while).exists()

    def read(self) -> None:
        """Read a prompt as vLLM does, in steps that show in the use of the KV cache and nowhere else."""
        steps = 50 if self.faults.read_seconds else 0
        for step in range(steps):
            time.sleep(self.faults.read_seconds / steps)
            self.reading = step / steps
        self.reading = 0.0

    def metrics(self) -> str:
        """Return the text of /metrics: what the core told last."""
        if not self.core_is_stopped():
            self.told = self._metrics()
        return self.told

    def _metrics(self) -> str:
        label = f'{{engine="0",model_name="{self.name}"}}'
        use = min(1.0, 0.05 * self.running + 0.1 * self.reading) if self.faults.kv_use is None else self.faults.kv_use
        seconds = self.generated / self.faults.tokens_per_second
        return "".join(
            f"# TYPE vllm:{name} {kind}\nvllm:{name}{label} {value}\n"
            for name, kind, value in (
                ("num_requests_running", "gauge", float(self.running)),
                ("num_requests_waiting", "gauge", float(self.waiting)),
                ("kv_cache_usage_perc", "gauge", use),
                ("generation_tokens_total", "counter", float(self.generated)),
                ("num_preemptions_total", "counter", float(self.faults.preemptions)),
                ("request_success_total", "counter", float(self.finished)),
                ("inter_token_latency_seconds_sum", "histogram", seconds),
                ("inter_token_latency_seconds_count", "histogram", float(self.generated)),
            )
        )


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
        if self.path == "/tokenize":
            self.answer(200, {"count": len(self.prompt(body).split()), "max_model_len": self.engine.max_model_len})
            return
        if not chat and self.path != "/v1/completions":
            self.answer(404, {"detail": "Not Found"})
        elif self.engine.draining or self.engine.dead:
            self.reply(500, b"Internal Server Error", "text/plain")
        elif body.get("model") != self.engine.name:
            self.refuse(404, f"The model `{body.get('model')}` does not exist.", "NotFoundError")
        elif len(self.prompt(body).split()) > self.engine.max_model_len:
            length = self.engine.max_model_len
            self.refuse(400, f"This model's maximum context length is {length} tokens.", "BadRequestError")
        else:
            self.complete(body, chat)

    @staticmethod
    def prompt(body: dict[str, Any]) -> str:
        """Return all text of a request."""
        return str(body.get("prompt") or " ".join(each["content"] for each in body.get("messages", [])))

    def complete(self, body: dict[str, Any], chat: bool) -> None:
        """Run a request: wait for a slot, make the tokens, count it while it is there."""
        engine = self.engine
        engine.wait_for_core()
        with engine.lock:
            engine.waiting += 1
        with engine.slots:
            with engine.lock:
                engine.waiting, engine.running = engine.waiting - 1, engine.running + 1
            try:
                if engine.faults.crash_when_asked:
                    engine.crashed.set()
                while engine.faults.hang or engine.faults.crash_when_asked:
                    time.sleep(1)
                engine.read()
                made = self.while_asked(engine.tokens(self.prompt(body), int(body.get("max_tokens") or 16)))
                if body.get("stream"):
                    self.stream(body, chat, made)
                else:
                    self.whole(body, chat, list(made))
            except ConnectionError:  # the client went away: as vLLM, it is asked for nothing more
                self.close_connection = True
            finally:
                with engine.lock:
                    engine.running, engine.finished = engine.running - 1, engine.finished + 1

    def while_asked(self, made: Iterator[tuple[int, str] | None]) -> Iterator[tuple[int, str]]:
        """Yield the tokens, and end when the client has gone. Raises ConnectionError then."""
        for each in made:
            with contextlib.suppress(BlockingIOError):  # it is there, and says nothing
                if not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    raise ConnectionAbortedError
            if each:
                yield each

    def whole(self, body: dict[str, Any], chat: bool, made: list[tuple[int, str]]) -> None:
        """Answer with one object."""
        text = "".join(word for _, word in made)
        content: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choice = {"index": 0, **content, "finish_reason": "length", "token_ids": None}
        if body.get("return_token_ids"):
            choice["token_ids"] = [number for number, _ in made]
        self.engine.generated += len(made)
        count = len(self.prompt(body).split())
        usage = {"prompt_tokens": count, "completion_tokens": len(made), "total_tokens": count + len(made)}
        self.answer(200, self.head(body, chat, "") | {"choices": [choice], "usage": usage})

    def stream(self, body: dict[str, Any], chat: bool, made: Iterator[tuple[int, str]]) -> None:
        """Answer with an event a token, and [DONE]."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        total = int(body.get("max_tokens") or 16)
        for place, (_, word) in enumerate(made, 1):
            content: dict[str, Any] = {"delta": {"content": word}} if chat else {"text": word}
            choice = {"index": 0, **content, "finish_reason": "length" if place == total else None}
            self.event(json.dumps(self.head(body, chat, ".chunk") | {"choices": [choice]}))
            self.engine.generated += 1
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

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
