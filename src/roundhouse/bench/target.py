"""The endpoints that a bench loads: an agent of this host, or any other endpoint of the OpenAI API."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import RoundhouseError, UsageError
from ..schema.plan import Agent
from ..util import console, json_file
from ..vllm.client import LARGEST_BYTES, Engine

_TIMEOUT_SECONDS = 10.0


class Target(NamedTuple):
    """An endpoint without its /v1, the name of the model there, and its key (None: it needs none)."""

    url: str
    model: str
    key: str | None = None


def own(agent: Agent) -> Target:
    """Return the engine of the agent. Raises RoundhouseError if it is not active."""
    engine = Engine(agent["host"], agent["engine_port"])
    if not engine.healthy():
        raise RoundhouseError(
            "agent_not_active",
            "{agent} is not active.",
            "Switch to it: {program} {agent}.",
            agent=agent["name"],
            program=console.command_name(),
        )
    return Target(f"http://{agent['host']}:{agent['engine_port']}", agent["name"])


def other(url: str, model: str | None, key_file: Path | None) -> Target:
    """Return the endpoint of --against. Raises UsageError, and RoundhouseError if it does not answer."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            "against_invalid", "--against is {url!r}.", "Write a URL, such as http://127.0.0.1:11434.", url=url
        )
    base = url.rstrip("/").removesuffix("/v1")
    key = read_key(key_file)
    names = _models(base, key)
    if model is None and len(names) != 1:
        raise UsageError(
            "against_model_missing",
            "{url} has several models or none: {models}.",
            "Name one with --against-model.",
            url=base,
            models=", ".join(names) or "none",
        )
    if model is not None and model not in names:
        raise UsageError(
            "against_model_unknown",
            "--against-model is {model!r}, and {url} has: {models}.",
            "Write one of these.",
            model=model,
            url=base,
            models=", ".join(names) or "none",
        )
    return Target(base, model or names[0], key)


def read_key(file: Path | None) -> str | None:
    """Return the key in a file, None without a file. Raises UsageError."""
    if file is None:
        return None
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "key_unreadable",
            "--against-key {file} cannot be read ({why}).",
            "Name a file with one line, the key.",
            file=str(file),
            why=str(error),
        ) from None


def _models(base: str, key: str | None) -> list[str]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"{base}/v1/models", headers=headers)  # noqa: S310 - http or https, checked above
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
            told = json_file.parse(answer.read(LARGEST_BYTES))
        return [str(entry["id"]) for entry in told["data"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"status {error.code}" if isinstance(error, urllib.error.HTTPError) else f"{error}"
        raise RoundhouseError(
            "against_no_models",
            "{url}/v1/models lists no models ({why}).",
            "Name an endpoint of the OpenAI API, or add its key with --against-key.",
            url=base,
            why=why,
        ) from None
