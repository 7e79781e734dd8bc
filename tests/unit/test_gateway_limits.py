"""Limit what a client without a key can use: connections of one and of many sources, headers, and memory."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys

import pytest
from clock import until
from real_gateway import DEFAULTS, WAIT_SECONDS, Gateway, create_files, render, starting

from roundhouse.errors import UsageError
from roundhouse.gateway import config, haproxy, haproxy_config, keys

EVERYWHERE = "0.0.0.0"  # noqa: S104 - the case under test
needs_haproxy = pytest.mark.skipif(
    not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does"
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Give the gateway's files a folder of their own, with one key."""
    create_files(tmp_path, monkeypatch)
    keys.ensure()
    return tmp_path


@pytest.fixture
def start_gateway(place):
    """Return a function that starts a gateway beyond loopback, without TLS."""
    yield from starting(place, listen=EVERYWHERE, tls=False)


@pytest.fixture
def connect():
    """Return a function that opens a connection from an address of 127.0.0.0/8 and keeps it open."""
    lines = []

    def call(table, source, port=0, sent=b""):
        line = None
        # HAProxy may refuse a connection before its client has it, or before the client sends.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            line = socket.create_connection(("127.0.0.1", table.ports.any + port), WAIT_SECONDS, (source, 0))
            lines.append(line)
            if sent:
                line.sendall(sent)
        return line

    yield call
    for line in lines:
        line.close()


def answer(line, key=None, path="/v1/models"):
    """Return the status of a GET, None for a closed or refused connection."""
    if line is None:
        return None
    head = f"Authorization: Bearer {key}\r\n" if key else ""
    try:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        found = re.match(rb"HTTP/1\.1 (\d+)", line.recv(65536))
    except OSError:
        return None
    return int(found[1]) if found else None


def opened(frontend):
    """Return the number of open connections of a frontend."""
    (text,) = haproxy.ask_workers(["show stat -1 1 -1"])
    head, *rows = text.removeprefix("# ").splitlines()
    found = [dict(zip(head.split(","), row.split(","), strict=False)) for row in rows if row]
    return next(int(row["scur"]) for row in found if row["pxname"] == frontend)


@needs_haproxy
def test_a_source_without_a_key_has_few_connections(start_gateway, connect):
    table = start_gateway(source_connections=8)
    key = keys.load()["default"]
    for _ in range(8):
        connect(table, "127.0.0.2")
    until(lambda: opened("API") == 8)
    assert answer(connect(table, "127.0.0.2"), key) is None
    assert answer(connect(table, "127.0.0.3")) == 401
    assert answer(connect(table, "127.0.0.3"), key) == 200
    # That source has more now.
    assert [answer(connect(table, "127.0.0.3"), key) for _ in range(12)] == [200] * 12


@needs_haproxy
def test_many_sources_without_a_key_leave_connections_to_those_with_one(start_gateway, connect):
    table = start_gateway(connections=40)
    key = keys.load()["default"]
    assert answer(connect(table, "127.0.0.2"), key) == 200
    for number in range(40):
        connect(table, f"127.0.1.{number + 1}", sent=b"GET / HTTP/1.1\r\n")
    until(lambda: opened("API") == 30)
    assert answer(connect(table, "127.0.2.1")) is None
    assert answer(connect(table, "127.0.0.2"), key) == 200
    # The metrics have connections of their own.
    assert answer(connect(table, "127.0.0.9", 100), key, "/metrics") == 200


@needs_haproxy
def test_the_metrics_have_connections_of_their_own(start_gateway, connect):
    table = start_gateway(metrics_connections=8)
    key = keys.load()["default"]
    for _ in range(2):
        connect(table, "127.0.0.2", 100)
    until(lambda: opened("METRICS") == 2)
    assert answer(connect(table, "127.0.0.2", 100), key, "/metrics") is None
    assert answer(connect(table, "127.0.0.3", 100), key, "/metrics") == 200
    assert answer(connect(table, "127.0.0.2"), key) == 200


@needs_haproxy
def test_a_source_is_an_ipv6_network_of_64_bits(start_gateway):
    start_gateway()
    text = haproxy_config.path().read_text()
    tracked = re.findall(r"(?:track-sc[12]|known_source) src(\S*)", text)
    assert tracked == [",ipmask(32,64)", ",ipmask(32,64),in_table(KNOWN)", ",ipmask(32,64)", ",ipmask(32,64)"]


@needs_haproxy
@pytest.mark.parametrize(("size", "status"), [(3000, 200), (5000, 431)])
def test_headers_have_a_limit_apart_from_bodies(start_gateway, size, status):
    table = start_gateway(header_kib=4)
    key = {"Authorization": f"Bearer {keys.load()['default']}"}
    found = table.ask("GET", "/v1/models", X="a" * size, **key)
    assert found.status == status
    if status == 431:
        assert json.loads(found.body)["error"]["message"] == "The headers are longer than 4096 bytes."


@needs_haproxy
@pytest.mark.parametrize(
    ("sent", "limit", "line"),
    [
        (b"GET / HT", "header_seconds", "timeout http-request 1s"),
        (None, "body_seconds", "wait-for-body time 1s"),
    ],
)
def test_a_slow_request_ends_with_an_error(start_gateway, connect, sent, limit, line):
    table = start_gateway(**{limit: 1})
    assert line in haproxy_config.path().read_text()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {keys.load()['default']}\r\n"
    slow = connect(table, "127.0.0.2", sent=sent or f"{head}Content-Length: 9\r\n\r\n{{".encode())
    told = slow.recv(65536)
    assert told.startswith(b"HTTP/1.1 408")
    if not sent:  # HAProxy 2.6 answers headers that do not end with a page that no option changes
        assert json.loads(told.partition(b"\r\n\r\n")[2])["error"]["message"] == "The request did not arrive in time."


def rendered(place, tokens, **settings):
    table = Gateway(place, **settings)
    plan = {**table.plan, "agents": [{**agent, "max_model_len": tokens} for agent in table.plan["agents"]]}
    return haproxy_config.render(render(config.build(plan, table.settings)), plan)


@pytest.mark.parametrize(
    ("tokens", "memory_mib", "buffer", "connections"),
    [(4096, 4096, 589_824, 4096), (131_072, 4096, 2_162_688, 1489), (131_072, 1024, 2_162_688, 372)],
)
def test_the_buffers_of_all_connections_fit_into_the_memory(place, tokens, memory_mib, buffer, connections):
    text = rendered(place, tokens, memory_mib=memory_mib, listen=EVERYWHERE)
    assert f"tune.bufsize {buffer}\n" in text
    assert [int(each) for each in re.findall(r"^    maxconn (\d+)$", text, re.MULTILINE)] == [4160, connections, 64]
    assert f"fe_conn gt {connections * 3 // 4} " in text
    assert buffer * connections <= memory_mib * 1024 * 1024 * 3 // 4
    assert "@@" not in text


def test_a_file_of_an_earlier_version_is_filled_in_too(place):
    text = "tune.bufsize @@buffer_bytes@@ for @@body_bytes@@\n"
    assert haproxy_config.render(text, Gateway(place).plan) == "tune.bufsize 589824 for 524288\n"


@pytest.mark.parametrize("name", config.LIMITS)
@pytest.mark.parametrize("value", [0, -1, True, "many"])
def test_a_limit_is_a_positive_number(place, name, value):
    with pytest.raises(UsageError, match=f"gateway_{name} is {value!r}") as refused:
        config.build(Gateway(place).plan, config.Settings(**DEFAULTS | {name: value}))
    assert refused.value.code == "gateway_limit_invalid"


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        *(({"listen": "::1%eth0"}, "gateway_listen_invalid"), ({"listen": "::1%"}, "gateway_listen_invalid")),
        *(
            ({"listen": "fe80::1%eth0"}, "gateway_listen_invalid"),
            ({"listen": "127.0.0.1%x"}, "gateway_listen_invalid"),
        ),
        *(({"hosts": ["a b"]}, "gateway_host_invalid"), ({"hosts": ["gpu.lan:80"]}, "gateway_host_invalid")),
        *(({"hosts": ["} or TRUE"]}, "gateway_host_invalid"), ({"hosts": ["-m"]}, "gateway_host_invalid")),
    ],
)
def test_an_invalid_address_or_name_is_refused(place, setting, code):
    with pytest.raises(UsageError) as refused:
        config.build(Gateway(place).plan, config.Settings(**DEFAULTS | setting))
    assert refused.value.code == code


REFUSE_EXECUTABLE_MEMORY = """
import ctypes, os, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit(99)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@needs_haproxy
def test_haproxy_reads_its_configuration_without_executable_memory(place):
    """As with MemoryDenyWriteExecute=: PCRE2 would compile a regular expression to machine code."""
    table = Gateway(place, listen=EVERYWHERE, tls=False, cors_origins=["https://chat.lan"])
    table.write()
    words = [sys.executable, "-c", REFUSE_EXECUTABLE_MEMORY, "haproxy", "-c", "-f", haproxy_config.path()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode == 99:
        pytest.skip("the kernel has no PR_SET_MDWE: it is older than 6.3")
    assert (done.returncode, done.stderr) == (0, "")
