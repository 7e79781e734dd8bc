"""The text of the fake engine, which depends on the request like a model's text, and its tool calls."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NamedTuple

WORDS = ("the", " plan", " is", " a", " list", " of", " small", " steps", ",", " each", " one", " tested", " and", ".")
# A value of each type of a tool's arguments.
VALUES = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}
_BLOCK = 16  # tokens per block of the KV cache, as in vLLM


class Sampling(NamedTuple):
    """The sampling parameters of a request."""

    temperature: float
    top_p: float
    seed: int | None
    tokens: int
    stop: list[str]

    @classmethod
    def of(cls, body: dict[str, Any], defaults: dict[str, float]) -> Sampling:
        """Return the parameters of a request; missing ones are the server's defaults, otherwise vLLM's."""
        asked = {name: body.get(name) for name in ("temperature", "top_p")}
        chosen = {name: defaults.get(name, 1.0) if value is None else value for name, value in asked.items()}
        stop = body.get("stop") or []
        tokens = int(body.get("max_completion_tokens") or body.get("max_tokens") or 16)
        return cls(**chosen, seed=body.get("seed"), tokens=tokens, stop=[stop] if isinstance(stop, str) else stop)

    def salt(self, number: int, choice: int) -> str:
        """Return the text's input besides model and prompt; `number` distinguishes requests without a seed."""
        if self.temperature == 0:
            return ""
        return f"{self.temperature} {self.top_p} {number if self.seed is None else f'seed {self.seed}'} {choice}"


class Token(NamedTuple):
    """One token; `reason` is the finish reason of the last one."""

    number: int
    text: str
    reason: str | None = None


def word(digest: bytes, place: int) -> tuple[int, str]:
    """Return the number and text of the token at a place of the text of a digest."""
    number = 1 + (digest[place % 32] + place) % len(WORDS)
    return number, WORDS[number - 1]


def prompts(body: dict[str, Any]) -> list[str]:
    """Return the prompts of a request; each has its own choices."""
    if "messages" in body:
        return [" ".join(map(_content, body["messages"]))]
    prompt = body.get("prompt") or ""
    return [str(each) for each in prompt] if isinstance(prompt, list) else [str(prompt)]


def _content(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else " ".join(str(part.get("text", "")) for part in content)


def tool_call(body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the tool call that a request requires, None if the answer is text."""
    choice, tools = body.get("tool_choice"), [tool["function"] for tool in body.get("tools") or []]
    named = choice["function"]["name"] if isinstance(choice, dict) else None
    found = [tool for tool in tools if named in (None, tool["name"])]
    if not found or not (named or choice == "required"):
        return None
    properties = found[0].get("parameters", {}).get("properties", {})
    arguments = {name: each.get("enum", [VALUES.get(each.get("type"))])[0] for name, each in properties.items()}
    name = found[0]["name"]
    number = hashlib.sha256(json.dumps([name, arguments]).encode()).hexdigest()[:16]
    called = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"chatcmpl-tool-{number}", "type": "function", "function": called}


def defaults(config: str) -> dict[str, float]:
    """Return the server's default sampling from a configuration, written as one JSON object or as a block of lines."""
    block = re.search(r"^override-generation-config: *(.*(?:\n +.*)*)", config, re.MULTILINE)
    return {name: float(value) for name, value in re.findall(r"(\w+)\"?: *([\d.]+)", block[1] if block else "")}


class PrefixCache:
    """The prefixes of earlier prompts, in whole blocks."""

    def __init__(self) -> None:
        self.queries = self.hits = 0
        self._known: set[bytes] = set()

    def read(self, words: list[str]) -> None:
        """Count the tokens of a prompt, and those among them that are cached."""
        digest, known = hashlib.sha256(), True
        self.queries += len(words)
        for begin in range(0, len(words) - _BLOCK + 1, _BLOCK):
            digest.update(" ".join(words[begin : begin + _BLOCK]).encode())
            known = known and digest.digest() in self._known
            self.hits += _BLOCK if known else 0
            self._known.add(digest.digest())
