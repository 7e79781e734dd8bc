"""Read the settings of a hub: the name in its address, and its token."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ..errors import UsageError


def name(endpoint: str) -> str:
    """Return the hub's name and port, without user and password. Raises UsageError."""
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(
            "hub_endpoint_invalid",
            "HF_ENDPOINT is {endpoint!r}, which is not a URL.",
            "Write a URL such as https://mirror.example.org.",
            endpoint=endpoint.rpartition("@")[2],  # without user and password
        )
    return parts.netloc.rpartition("@")[2]


def token(given: str) -> str | bool:
    """Return the stripped token (a YAML block ends in a newline), False without one. Raises UsageError."""
    stripped = given.strip()
    if stripped and not re.fullmatch(r"[!-~]+", stripped):
        raise UsageError(
            "hub_token_malformed",
            "The token in models_token or HF_TOKEN contains a space, a line break or another invalid character.",
            "Write it on one line, exactly as the hub shows it.",
        )
    return stripped or False
