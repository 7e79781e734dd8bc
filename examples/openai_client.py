#!/usr/bin/env python3
"""Use an agent with OpenAI's own client: `examples/openai_client.py chat|stream|batch|tools`.

The program reads OPENAI_BASE_URL, OPENAI_MODEL and OPENAI_API_KEY, which `roundhouse client-config env` prints for an
agent. Install the packages with `pip install --requirement requirements/examples.txt`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

try:
    from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAI
except ModuleNotFoundError as missing:
    raise SystemExit(
        f"{missing.name} is not installed. Run `pip install --requirement requirements/examples.txt`."
    ) from None

MODEL = os.environ.get("OPENAI_MODEL", "dev")
DESIGNS = ["Design component 1", "Design component 2", "Design component 3", "Design component 4"]
ANSWER_TOKENS = int(os.environ.get("EXAMPLE_TOKENS", "256"))
# Enough tokens for a complete tool call; a truncated call is invalid.
CALL_TOKENS = 256
PORTS = {"architect": 8000, "dev": 8001, "po": 8002}


def chat() -> None:
    """Ask one question and print the answer."""
    messages: Any = [{"role": "user", "content": "Design a payment system"}]
    answer = OpenAI().chat.completions.create(model=MODEL, messages=messages, max_tokens=ANSWER_TOKENS)
    print(answer.choices[0].message.content)


def stream() -> None:
    """Print an answer while the engine generates it.

    The first chunk may have no content, and the last chunk, with the usage, has no choice.
    """
    messages: Any = [{"role": "user", "content": "Design a payment system"}]
    chunks = OpenAI().chat.completions.create(
        model=MODEL, messages=messages, max_tokens=ANSWER_TOKENS, stream=True, stream_options={"include_usage": True}
    )
    for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
        elif chunk.usage:
            print(f"\n{chunk.usage.completion_tokens} tokens")


def batch() -> None:
    """Ask several questions one after the other, then at once; vLLM's continuous batching makes the latter faster."""
    begun = time.monotonic()
    client = OpenAI()
    for query in DESIGNS:
        client.chat.completions.create(**_request(query))
    in_turn, begun = time.monotonic() - begun, time.monotonic()
    answers = asyncio.run(_together())
    at_once = time.monotonic() - begun
    for query, answer in zip(DESIGNS, answers, strict=True):
        print(f"{query}: {' '.join(answer.split())[:80]}")
    print(f"one after the other {in_turn:.1f} s, at once {at_once:.1f} s")


async def _together() -> list[str]:
    async with AsyncOpenAI() as client:
        answers = await asyncio.gather(*(client.chat.completions.create(**_request(query)) for query in DESIGNS))
    return [answer.choices[0].message.content or "" for answer in answers]


def _request(query: str) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": query}], "max_tokens": ANSWER_TOKENS}


def tools() -> None:
    """Let the model request a function call, call the function, and send the result to the model.

    `tool_choice` names the function and `strict` requires its schema, so the engine permits no other output. With
    "auto" the model chooses, which needs `tool_call_parser` in the roster (hermes for Qwen).
    """
    who = {"type": "string", "enum": sorted(PORTS)}
    parameters = {"type": "object", "properties": {"agent": who}, "required": ["agent"], "additionalProperties": False}
    function = {"name": "port_of", "parameters": parameters, "strict": True}
    tool: Any = {"type": "function", "function": function}
    chosen: Any = {"type": "function", "function": {"name": "port_of"}}
    messages: list[Any] = [{"role": "user", "content": "On which port is the developer agent?"}]
    client = OpenAI()
    asked = client.chat.completions.create(
        model=MODEL,
        messages=messages,
        tools=[tool],
        tool_choice=chosen,
        max_tokens=CALL_TOKENS,
        # JSON permits any number of blanks between its parts, and a small model may repeat them without end.
        frequency_penalty=2,
    )
    (call,) = asked.choices[0].message.tool_calls or []
    arguments = json.loads(call.function.arguments)
    result = PORTS[arguments["agent"]]
    print(f"port_of({arguments['agent']!r}) is {result}")
    told = {"id": call.id, "type": "function", "function": {"name": "port_of", "arguments": call.function.arguments}}
    messages += [{"role": "assistant", "content": "", "tool_calls": [told]}]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": str(result)}]
    answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=ANSWER_TOKENS)
    print(answer.choices[0].message.content)


if __name__ == "__main__":
    os.environ.setdefault("OPENAI_BASE_URL", "http://127.0.0.1:8001/v1")
    os.environ.setdefault("OPENAI_API_KEY", "not-needed")
    shown = {"chat": chat, "stream": stream, "batch": batch, "tools": tools}
    if len(sys.argv) != 2 or sys.argv[1] not in shown:
        raise SystemExit(f"Name one of {', '.join(shown)}: examples/openai_client.py chat")
    try:
        shown[sys.argv[1]]()
    except APIConnectionError:
        url = os.environ["OPENAI_BASE_URL"]
        raise SystemExit(
            f"{url} does not answer. Check the agent with `roundhouse status`, and correct OPENAI_BASE_URL."
        ) from None
    except APIStatusError as refused:
        raise SystemExit(f"{refused.message}\nCheck the agent with `roundhouse status`.") from None
