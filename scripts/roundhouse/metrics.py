"""What a running engine counts, from its /metrics: vLLM's own names (v1/metrics/loggers.py), without their prefix."""

from __future__ import annotations

import http.client
import re
import urllib.request

_LINE = re.compile(r"^vllm:(\w+)(?:{[^}]*})? (\S+)$", re.MULTILINE)
_TIMEOUT_SECONDS = 2.0


def read(host: str, port: int, timeout_seconds: float = _TIMEOUT_SECONDS) -> dict[str, float]:
    """Return each number by its name; {} when the engine does not answer."""
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=timeout_seconds) as answer:
            text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return {}
    return parse(text)


def parse(text: str) -> dict[str, float]:
    """Return the numbers of a text of /metrics: of several engine cores or labels the sum, of shares the largest."""
    found: dict[str, float] = {}
    for name, value in _LINE.findall(text):
        before, now = found.get(name, 0.0), float(value)
        found[name] = max(before, now) if name.endswith("_perc") else before + now
    return found
