"""What a stranger tries on the gateway, from a network namespace of his own. Prints rows of (what, outcome) as JSON.

gateway_attacks.py ADDRESS PORT ROUTES GOOD_KEY REVOKED_KEY
"""

import contextlib
import json
import socket
import sys

ADDRESS, PORT, ROUTES, GOOD, REVOKED = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), *sys.argv[4:]
KEYS = {"no key": None, "a wrong key": "rh-wrong", "a revoked key": REVOKED, "the key": GOOD}
BODY = json.dumps({"model": "dev", "prompt": "x"})
ODD = (
    *("//v1/models", "/v1//models", "/v1/%2e%2e/invocations", "/v1/../invocations", "/./metrics", "/%6detrics"),
    *("/health/../invocations", "/health/", "/health%2f", "/HEALTH", "/v1/models/../../invocations", "/v1/models;a"),
    *("http://127.0.0.1/invocations", "http://127.0.0.1/health", "*", "/v1/models#/invocations", "/v1/models%00"),
)
IDLE = 2000


def send(raw, *, more=b"", timeout=8):
    """Return the first line of what comes back."""
    with contextlib.suppress(OSError), socket.create_connection((ADDRESS, PORT), timeout) as line:
        with contextlib.suppress(OSError):  # it may answer and hang up before all is sent
            line.sendall(raw)
            line.sendall(more)
        return line.makefile("rb").readline().decode(errors="replace").strip()
    return "closed"


def request(method, path, key, *, headers=(), body=""):
    """Return a request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", "Connection: close", *headers]
    lines += [f"Authorization: Bearer {key}"] if key is not None else []
    lines += [f"Content-Length: {len(body)}"] if body else []
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def paths():
    """Yield each path with each key."""
    for path in [*ROUTES, *ODD]:
        for name, key in KEYS.items():
            for method in ("GET", "POST"):
                yield (
                    f"{method} {path}, {name}",
                    send(request(method, path, key, body=BODY if method == "POST" else "")),
                )


def protocols():
    """Yield what is not about paths."""
    upgrade = ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
    yield "upgrade to h2c, no key", send(request("GET", "/invocations", None, headers=upgrade))
    yield "upgrade to h2c, the key", send(request("GET", "/invocations", GOOD, headers=upgrade))
    hidden = "GET /invocations HTTP/1.1\r\nHost: x\r\n\r\n"
    for name, key in (("no key", None), ("the key", GOOD)):
        both = ("Transfer-Encoding: chunked", "Content-Length: 6")
        yield (
            f"CL.TE, {name}",
            send(request("POST", "/v1/completions", key, headers=both) + b"0\r\n\r\n" + hidden.encode()),
        )
        chunk = f"{len(hidden):x}\r\n{hidden}\r\n0\r\n\r\n"
        both = ("Content-Length: 4", "Transfer-Encoding: chunked")
        yield f"TE.CL, {name}", send(request("POST", "/v1/completions", key, headers=both) + chunk.encode())
        twice = ("Content-Length: 5", "Content-Length: 60")
        yield f"two lengths, {name}", send(request("POST", "/v1/completions", key, headers=twice) + hidden.encode())
        odd = ("Transfer-Encoding: xchunked",)
        yield (
            f"TE of another name, {name}",
            send(request("POST", "/v1/completions", key, headers=odd) + hidden.encode()),
        )
        huge = (f"Content-Length: {10**9}",)
        yield f"a body of 1 GB, {name}", send(request("POST", "/v1/completions", key, headers=huge), more=b"a" * 65536)
        chunked = ("Transfer-Encoding: chunked",)
        endless = b"10000\r\n" + b"a" * 65536 + b"\r\n"
        yield (
            f"chunks of 2 MB, {name}",
            send(request("POST", "/v1/completions", key, headers=chunked), more=endless * 32),
        )
    yield "headers of 40 KB, the key", send(request("GET", "/v1/models", GOOD, headers=("X: " + "a" * 40_000,)))
    yield "no HTTP", send(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")


def idle():
    """Open connections that say nothing, and keep those that stay open."""
    lines = []
    for _ in range(IDLE):
        with contextlib.suppress(OSError):
            lines.append(socket.create_connection((ADDRESS, PORT), 5))
    return lines


if __name__ == "__main__":
    rows = [*paths(), *protocols()]
    kept = idle()
    sys.stdout.write(json.dumps(rows) + "\n")
    sys.stdout.flush()
    sys.stdin.readline()  # the connections stay until the test has looked
