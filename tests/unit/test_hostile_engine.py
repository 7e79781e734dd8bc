"""An engine that answers anything: root reads it within one deadline and a limit of bytes, and gets an error."""

import contextlib
import json
import resource
import socket
import threading
import time

import pytest

from roundhouse.agents import answers, drain, status, watchdog
from roundhouse.errors import RoundhouseError
from roundhouse.host import systemd
from roundhouse.vllm import client
from roundhouse.vllm.client import Engine

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
LIMIT_SECONDS = 0.3


def drip(connection, first, piece):
    connection.sendall(first)
    while True:
        connection.sendall(piece)
        time.sleep(0.05)


def flood(connection, first, piece):
    connection.sendall(first)
    while True:
        connection.sendall(piece * 4096)


ATTACKS = {
    "a dripping body": (drip, HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
    "a dripping body without a length": (drip, HEAD + b"\r\n", b"vllm:num_requests_running 1\n"),
    "dripping chunks": (drip, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "dripping headers": (drip, HEAD, b"x"),
    "dripping interim answers": (drip, b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "nothing": (drip, b"", b""),
    "a body without an end": (flood, HEAD + b"\r\n", b"vllm:num_requests_running 1\n"),
    "chunks without an end": (flood, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"8\r\n{{{{{{{{\r\n"),
    "a length without an end": (flood, HEAD + b"Content-Length: 99999999999999\r\n\r\n", b"[[[[[[[["),
}


@contextlib.contextmanager
def hostile(attack):
    """Answer each connection with an attack; yield the engine."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(connection):
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                attack(connection)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield Engine("127.0.0.1", server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=ATTACKS)
def engine(request):
    kind, *pieces = ATTACKS[request.param]
    with hostile(lambda connection: kind(connection, *pieces)) as found:
        yield found


def body(content):
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return lambda connection: connection.sendall(HEAD + f"Content-Length: {len(raw)}\r\n\r\n".encode() + raw)


def test_each_answer_of_an_engine_has_one_deadline_and_a_limit_of_bytes(engine):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for ask in (
        lambda: engine.load(LIMIT_SECONDS),
        lambda: engine.metrics(LIMIT_SECONDS),
        lambda: engine.served(LIMIT_SECONDS),
        lambda: engine.version(LIMIT_SECONDS),
        lambda: engine.canary("dev", "x", 1, LIMIT_SECONDS),
    ):
        begun = time.monotonic()
        with contextlib.suppress(RoundhouseError):
            assert not ask()
        assert time.monotonic() - begun < 2 + LIMIT_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB


def agent(engine):
    return {
        "name": "dev",
        "unit": "x.service",
        "host": engine.host,
        "engine_port": engine.port,
        "model": "m",
        "port": 1,
    }


def test_a_drain_and_a_watchdog_end_with_an_engine_that_drips(monkeypatch):
    monkeypatch.setattr(systemd, "state", lambda unit: "ready")
    with hostile(lambda connection: drip(connection, HEAD + b"\r\n", b"x")) as engine:
        begun = time.monotonic()
        assert drain._running(agent(engine), 3) == 3
        assert watchdog.is_alive(agent(engine), None, LIMIT_SECONDS) == (False, None)
        assert time.monotonic() - begun < 6


ANSWERS = [
    *([], {}, "x", 7, None, {"data": 7}, {"data": [7]}, {"data": [{}]}, {"data": [{"id": 7}]}, {"version": 7}),
    *({"choices": {}}, {"model": "dev", "choices": [7]}, {"model": "dev", "choices": [{"message": "x"}]}),
    {"model": "dev", "choices": [{"message": {"content": [1]}, "finish_reason": "stop", "token_ids": [[1]] * 20}]},
    {"model": ["\x1b[2J"]},
    *(b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"{" + b"9" * 100_000, b""),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_an_answer_of_any_shape_is_an_error_and_no_traceback(answer):
    with hostile(body(answer)) as engine:
        for ask in (engine.served, engine.version, lambda: engine.canary("dev", "x", 1, 2.0)):
            try:
                ask()
            except RoundhouseError as error:
                assert error.code.startswith(("engine_", "canary_"))


def test_a_body_that_ends_early_is_not_read_as_a_whole():
    def cut(connection):
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\nvllm:num_requests_running 0\n")

    with hostile(cut) as engine:
        assert engine.load() is None


@pytest.mark.parametrize(
    "text",
    ["vllm:num_requests_running nan\n", "vllm:num_requests_running inf\n", "vllm:num_requests_running x\n"],
)
def test_a_metric_without_a_finite_number_is_unknown(text):
    with hostile(body(text.encode())) as engine:
        assert engine.load() is None


def test_metrics_without_a_closing_brace_are_read_in_linear_time():
    begun = time.monotonic()
    client.parse("vllm:a{" * 20_000 + "\n" + "vllm:a{\n" * 200_000)
    assert time.monotonic() - begun < 10  # the square of their number took minutes


def test_the_status_of_a_hostile_engine_is_a_row_with_a_problem(monkeypatch):
    unit = systemd.Unit(*[None] * len(systemd.Unit._fields))._replace(state="ready")
    plan = {"agents": []}
    with hostile(body({"data": 7, "version": 7})) as engine:
        planned = {**agent(engine), "max_model_len": 1}
        row = status._row(planned, unit, None)
        answers.fill(plan, [(planned, unit, row)], LIMIT_SECONDS)
    assert row["problem"].startswith(f"127.0.0.1:{engine.port}/v1/models did not answer")
