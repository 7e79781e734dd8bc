"""Random requests for the gateway, each from its own seed: methods, paths, keys, bodies, framings, mutations."""

import json
import random
from typing import NamedTuple

METHODS = (
    *["POST"] * 40,
    *["GET"] * 10,
    "HEAD",
    "OPTIONS",
    "PUT",
    "DELETE",
    "PATCH",
    "TRACE",
    "CONNECT",
    "PRI",
    "post",
)
METHODS += ("G\0T", "")
VERSIONS = (*["1.1"] * 20, "1.0", "2.0", "0.9")
WRITES = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/tokenize", "/detokenize")
PATHS = ("/v1/models", "/v1/models/dev", "/v1/models/po%00", "/health", "/metrics", "/invocations", "/v1/embeddings")
PATHS += ("//v1/models", "/v1/../invocations", "/v1/%2e%2e/pause", "/health/../v1/models", "http://x/v1/completions")
PATHS += ("*", "/", "/v1/models;a", "/v1/completions?model=po", "/v1/completions#x", "/health%00", "/load_lora_adapter")
NAMES = (
    "dev",
    "dev",
    "po",
    "nosuch",
    "po\0",
    "dev\0 1 1\nwaiting dev 5 9\nx",
    "DEV",
    "",
    "de\u0301v",
    "../dev",
    "dev " * 99,
)
HOSTS = ("localhost", "127.0.0.1:80", "attacker.example", "a,b", "[::1]", "", "x\0y")
ODD_HEADERS = (
    "X-Data-Parallel-Rank: 7",
    "Cookie: a=b",
    "Proxy-Authorization: Bearer KEY",
    "X-Api-Key: KEY",
    "TE: trailers",
)
ODD_HEADERS += ("Connection: authorization", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk", "Expect: 100-continue")
ODD_HEADERS += ("Origin: http://attacker.example", "Content-Encoding: gzip", "X-Forwarded-For: 127.0.0.1", "A\0b: c")
ODD_HEADERS += ("No colon", " folded: a", "X: a\rContent-Length: 0", "Range: bytes=0-", "Authorization2: Bearer KEY")
# A word for KEY gives a key; all but the first lie beside it.
KEYS = (*["Bearer KEY"] * 12, None, "Bearer", "Bearer rh-wrong", "Bearer KE", "Bearer \0KEY", "Basic x")
# For the engine, which does not see the port of a request.
PORT_OF_DEV = "User-Agent: port-of-dev"
HIDDEN = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Request(NamedTuple):
    """Hold what is sent. `keyed`: Authorization contains the key. `hidden`: a request without a key follows."""

    raw: bytes
    port: str
    keyed: bool
    hidden: bool


def request(seed, key):
    """Return the request of a seed."""
    dice = random.Random(seed)
    method, port = dice.choice(METHODS), dice.choice(("any", "any", "any", "dev", "metrics"))
    path = dice.choice(WRITES if method == "POST" and dice.random() < 0.8 else PATHS)
    given = dice.choice(KEYS)
    headers = [f"Host: {dice.choice(HOSTS) if dice.random() < 0.2 else 'localhost'}"]
    headers += [f"Authorization: {given}"] if given else []
    headers += dice.sample(ODD_HEADERS, dice.choice((*[0] * 8, 1, 3)))
    headers += ["X-Long: " + "a" * dice.choice((9, 9, 33_000, 70_000, 700_000))] if dice.random() < 0.05 else []
    headers += [f"X-{number}: a" for number in range(300)] if dice.random() < 0.03 else []
    body = _body(dice) if method == "POST" else ""
    headers += [PORT_OF_DEV] if port == "dev" else []
    framing, payload, hidden = _framed(dice, body)
    head = "\r\n".join([f"{method} {path} HTTP/{dice.choice(VERSIONS)}", *headers, *framing])
    raw = f"{head}\r\n\r\n".replace("KEY", key).encode() + payload
    if port != "dev" and dice.random() < 0.15:
        raw = _mutated(dice, raw)
    return Request(raw, port, bool(given) and "KEY" in given and "\0" not in given, hidden)


def _body(dice):
    """Return JSON, mostly valid, that names models in the usual place and in others."""
    deep = '{"a":' * (depth := dice.choice((0, 0, 5, 21, 300))) + "1" + "}" * depth
    pairs = [("model", dice.choice(NAMES)), ("prompt", "x" * dice.choice((1, 1, 1, 3000, 400_000, 600_000)))]
    pairs += dice.sample([("model", dice.choice(NAMES)), ("messages", [{"model": "po"}]), ("x", '"model": "po"')], 1)
    dice.shuffle(pairs)
    members = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs]
    members.insert(dice.randrange(3), f'"schema": {deep}')
    text = "{" + ", ".join(members) + "}"
    kind = dice.random()
    if kind < 0.75:
        return text
    cut = text[: dice.randrange(len(text))]
    broken = (
        cut,
        f"[{text}]",
        text.replace('"model"', '"m\\u006fdel"'),
        '{"model": ["dev"]}',
        '{"model": {"model": "dev"}}',
    )
    return dice.choice((*broken, "[" * 50_000, '{"model":"d\\u0065v"}', "\ufeff" + text, "", "null", text * 2))


def _framed(dice, body):
    """Return headers, bytes and whether a hidden request follows."""
    data = body.encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (data[:7], data[7:]) if part) + b"0\r\n\r\n"
    length, chunked = f"Content-Length: {len(data)}", "Transfer-Encoding: chunked"
    ways = [
        *[([length], data, False)] * 30,
        *[([chunked], chunks, False)] * 8,
        ([length], data + HIDDEN.encode(), True),
        (["Content-Length: 4", chunked], chunks + HIDDEN.encode(), True),
        ([chunked, "Content-Length: 4"], chunks + HIDDEN.encode(), True),
        ([chunked, "Transfer-Encoding: identity"], chunks + HIDDEN.encode(), True),
        (["Transfer-Encoding: xchunked"], chunks + HIDDEN.encode(), True),
        ([length, f"Content-Length: {len(data) + 9}"], data + HIDDEN.encode(), True),
        ([f"Content-Length: +{len(data)}"], data + HIDDEN.encode(), True),
        ([chunked], b"7;a=b\r\n" + data[:7] + b"\r\n0\r\nX: y\r\n\r\n" + HIDDEN.encode(), True),
        ([chunked], b"ffffffffffffffff\r\n" + data, False),
        ([f"Content-Length: {len(data) + 5}"], data, False),
        (["Content-Length: 99999999999999999999"], data, False),
        ([], data, True),
    ]
    return dice.choice(ways)


def _mutated(dice, raw):
    """Return the bytes with some replaced, removed, doubled or cut off. The key stays whole or breaks."""
    end = raw.find(b"\r\n\r\n") + 4
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(raw)) if dice.random() < 0.3 else dice.randrange(min(len(raw), end) or 1)
        new = dice.choice(
            (b"", b"\0", b"\r", b"\n", b" ", b":", b"\xff", bytes([dice.randrange(256)]), raw[at : at + 20] * 2)
        )
        raw = raw[:at] + new + raw[at + 1 :]
    return raw[: dice.randrange(len(raw))] if dice.random() < 0.2 else raw
