"""Attack a port of the gateway from a separate network namespace.

Prints rows of (attack, statuses of the responses, none for a closed connection) as JSON.

gateway_attacks.py ADDRESS PORT ROUTES GOOD_KEY REVOKED_KEY [CERTIFICATE]
"""

import contextlib
import json
import re
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

ADDRESS, PORT, ROUTES, GOOD, REVOKED = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), *sys.argv[4:6]
TLS = ssl.create_default_context(cafile=sys.argv[6]) if len(sys.argv) > 6 else None
KEYS = {"no key": None, "a wrong key": "rh-wrong", "a revoked key": REVOKED, "the key": GOOD}
BODY = json.dumps({"model": "dev", "prompt": "x"})
ODD = (
    *("//v1/models", "/v1//models", "/v1/%2e%2e/invocations", "/v1/../invocations", "/./metrics", "/%6detrics"),
    *("/health/../invocations", "/health/", "/health%2f", "/HEALTH", "/v1/models/../../invocations", "/v1/models;a"),
    *("http://127.0.0.1/invocations", "http://127.0.0.1/health", "*", "/v1/models#/invocations", "/v1/models%00"),
)
IDLE = 2000
AT_ONCE = 8
QUIET_SECONDS = 1.5  # who says nothing more for so long has said all


def send(raw, more=b"", timeout=60):
    """Return the status of each response, until the other side closes the connection or stops sending."""
    told = b""
    with contextlib.suppress(OSError), socket.create_connection((ADDRESS, PORT), timeout) as plain:
        line = TLS.wrap_socket(plain, server_hostname="localhost") if TLS else plain
        with contextlib.suppress(OSError):  # it may answer and hang up before all is sent
            line.sendall(raw)
            line.sendall(more)
        while part := line.recv(65536):
            told += part
            line.settimeout(QUIET_SECONDS)
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", told)]


def request(method, path, key, *, headers=("Connection: close",), body=""):
    """Return a request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", *headers]
    lines += [f"Authorization: Bearer {key}"] if key is not None else []
    lines += [f"Content-Length: {len(body)}"] if body else []
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def chunks(*texts):
    """Return a chunked body."""
    return "".join(f"{len(text):x}\r\n{text}\r\n" for text in (*texts, "")).encode()


def paths():
    """Yield each path with each key, as (what, the bytes to send)."""
    for path in [*ROUTES, *ODD]:
        for name, key in KEYS.items():
            for method in ("GET", "POST"):
                yield f"{method} {path}, {name}", request(method, path, key, body=BODY if method == "POST" else "")


def protocols():
    """Yield attacks by other means than paths. A smuggled request follows a valid one."""
    upgrade = ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA", "Connection: close")
    yield "upgrade to h2c, no key", request("GET", "/invocations", None, headers=upgrade)
    yield "upgrade to h2c, the key", request("GET", "/invocations", GOOD, headers=upgrade)
    for name, key in (("no key", None), ("the key", GOOD)):

        def post(*headers, key=key, body=""):
            return request("POST", "/v1/completions", key, headers=headers, body=body)

        hidden = request("GET", "/invocations", key, headers=())
        chunked = "Transfer-Encoding: chunked"
        yield f"pipelined, {name}", post(body=BODY) + hidden
        yield f"CL.TE, {name}", post("Content-Length: 6", chunked) + chunks(BODY) + hidden
        yield f"TE.CL, {name}", post(chunked, "Content-Length: 4") + chunks(BODY, hidden.decode())
        yield f"TE.TE, {name}", post(chunked, "Transfer-encoding: cow") + chunks(BODY) + hidden
        yield f"TE with a tab, {name}", post("Transfer-Encoding:\tchunked", "Content-Length: 6") + chunks(BODY) + hidden
        yield f"TE of another name, {name}", post("Transfer-Encoding: xchunked") + hidden
        yield (
            f"two lengths, {name}",
            post(f"Content-Length: {len(BODY)}", "Content-Length: 60") + BODY.encode() + hidden,
        )
        yield f"a length with a sign, {name}", post(f"Content-Length: +{len(BODY)}") + BODY.encode() + hidden
        yield f"a line in a header, {name}", post("X: a\rContent-Length: 0", body=BODY) + hidden
        yield f"a body of 1 GB, {name}", post(f"Content-Length: {10**9}"), b"a" * 65536
        endless = b"10000\r\n" + b"a" * 65536 + b"\r\n"
        yield f"chunks of 2 MB, {name}", post(chunked), endless * 32
    yield "headers of 40 KB, the key", request("GET", "/v1/models", GOOD, headers=("X: " + "a" * 40_000,))
    yield "no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"


def idle():
    """Open connections that say nothing, and keep those that stay open."""
    lines = []
    for _ in range(IDLE):
        with contextlib.suppress(OSError):
            lines.append(socket.create_connection((ADDRESS, PORT), 5))
    return lines


if __name__ == "__main__":
    asked = [*paths(), *protocols()]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rows = [*zip([what for what, *_ in asked], pool.map(lambda row: send(*row[1:]), asked), strict=True)]
    kept = idle()
    sys.stdout.write(json.dumps(rows) + "\n")
    sys.stdout.flush()
    sys.stdin.readline()  # the connections stay until the test has looked
