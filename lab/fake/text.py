"""What the fake engine writes: text that depends on what a request asks for, as a model's does, and calls of tools."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NamedTuple

WORDS = ("the", " plan", " is", " a", " list", " of", " small", " steps", ",", " each", " one", " tested", " and", ".")
# A value of each type of a tool's arguments.
VALUES = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}
_BLOCK = 16  # tokens, as vLLM's KV cache has them


class Sampling(NamedTuple):
    """How a request wants its text."""

    temperature: float
    top_p: float
    seed: int | None
    tokens: int
    stop: list[str]

    @classmethod
    def of(cls, body: dict[str, Any], defaults: dict[str, float]) -> Sampling:
        """Return it, with the server's defaults where the request says nothing, and else vLLM's."""
        asked = {name: body.get(name) for name in ("temperature", "top_p")}
        chosen = {name: defaults.get(name, 1.0) if value is None else value for name, value in asked.items()}
        stop = body.get("stop") or []
        tokens = int(body.get("max_completion_tokens") or body.get("max_tokens") or 16)
        return cls(**chosen, seed=body.get("seed"), tokens=tokens, stop=[stop] if isinstance(stop, str) else stop)

    def salt(self, number: int, choice: int) -> str:
        """Return what the text depends on beside model and prompt; `number` tells requests without a seed apart."""
        if self.temperature == 0:
            return ""
        return f"{self.temperature} {self.top_p} {number if self.seed is None else f'seed {self.seed}'} {choice}"


class Token(NamedTuple):
    """One token; `reason` says why it is the last."""

    number: int
    text: str
    reason: str | None = None


def word(digest: bytes, place: int) -> tuple[int, str]:
    """Return the token that stands at a place of the text that a digest stands for."""
    number = 1 + (digest[place % 32] + place) % len(WORDS)
    return number, WORDS[number - 1]


def prompts(body: dict[str, Any]) -> list[str]:
    """Return the prompts of a request, each of which has its own answers."""
    if "messages" in body:
        return [" ".join(map(_content, body["messages"]))]
    prompt = body.get("prompt") or ""
    return [str(each) for each in prompt] if isinstance(prompt, list) else [str(prompt)]


def _content(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else " ".join(str(part.get("text", "")) for part in content)


def tool_call(body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the call that a request must be answered with, None where text will do."""
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
    """Return the sampling that a configuration gives the server, as one JSON object or as a block of lines."""
    block = re.search(r"^override-generation-config: *(.*(?:\n +.*)*)", config, re.MULTILINE)
    return {name: float(value) for name, value in re.findall(r"(\w+)\"?: *([\d.]+)", block[1] if block else "")}


class PrefixCache:
    """The prompts' beginnings that were read before, in whole blocks."""

    def __init__(self) -> None:
        self.queries = self.hits = 0
        self._known: set[bytes] = set()

    def read(self, words: list[str]) -> None:
        """Count the tokens of a prompt, and those of them that were there."""
        digest, known = hashlib.sha256(), True
        self.queries += len(words)
        for begin in range(0, len(words) - _BLOCK + 1, _BLOCK):
            digest.update(" ".join(words[begin : begin + _BLOCK]).encode())
            known = known and digest.digest() in self._known
            self.hits += _BLOCK if known else 0
            self._known.add(digest.digest())
