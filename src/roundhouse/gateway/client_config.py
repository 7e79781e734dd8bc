"""Print configuration files for the clients of the agents, with the deployed ports, names and lengths.

The formats: VS Code's own models since 1.122 (chatLanguageModels.json, Custom Endpoint), Continue's config.yaml (schema
v1), aider's two files, and the environment variables of OpenAI's clients.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ..schema.plan import Plan
from . import haproxy_config


class Listener(NamedTuple):
    """The scheme of the agents' ports, and whether they require a key."""

    scheme: str  # http or https
    keyed: bool  # a key is required


def listener(plan: Plan) -> Listener:
    """Return the scheme and keys of the gateway's configuration; without a gateway, http and no key."""
    if plan.get("gateway_port") is None:
        return Listener("http", keyed=False)
    text = haproxy_config.deployed()
    return Listener("https" if " ssl crt " in text else "http", keyed=haproxy_config.needs_key())


# Prompt and answer share max_model_len; an editor needs a limit for each.
_SHARE_OF_ANSWER, _LONGEST_ANSWER_TOKENS = 4, 4096
NO_KEY = "not-needed"  # clients require a value


class Endpoint(NamedTuple):
    """One agent as a client sees it. `keyed`: the gateway requires a key, which no file contains."""

    name: str
    url: str
    model: str
    max_model_len: int
    temperature: float
    tools: bool
    keyed: bool

    @property
    def answer_tokens(self) -> int:
        """Return the length of an answer that a program may expect, in tokens."""
        return min(_LONGEST_ANSWER_TOKENS, self.max_model_len // _SHARE_OF_ANSWER)


def endpoints(plan: Plan, at: Listener, host: str, name: str | None) -> list[Endpoint]:
    """Return the agents of a plan, or the one of that name, as clients reach them by the name `host`."""
    return [
        Endpoint(
            name=agent["name"],
            url=f"{at.scheme}://{host}:{agent['port']}/v1",
            model=agent["model"].rstrip("/").rpartition("/")[2],
            max_model_len=agent["max_model_len"],
            temperature=agent["temperature"],
            tools=bool(agent["config"].get("tool-call-parser")),
            keyed=at.keyed,
        )
        for agent in plan["agents"]
        if name in (None, agent["name"])
    ]


def _env(found: list[Endpoint]) -> dict[str, str]:
    first = found[0]
    key = "# OPENAI_API_KEY: a key of the gateway" if first.keyed else f"OPENAI_API_KEY={NO_KEY}"
    return {".env": f"OPENAI_BASE_URL={first.url}\nOPENAI_MODEL={first.name}\n{key}\n"}


def _curl(found: list[Endpoint]) -> dict[str, str]:
    first = found[0]
    body = json.dumps({"model": first.name, "messages": [{"role": "user", "content": "Hello"}]})
    key = ' -H "Authorization: Bearer $OPENAI_API_KEY"' if first.keyed else ""
    return {"ask.sh": f"curl {first.url}/chat/completions -H 'Content-Type: application/json'{key} \\\n  -d '{body}'\n"}


_OPENAI = """\
from openai import OpenAI

client = OpenAI(base_url="{url}", api_key={key})
messages = [{{"role": "user", "content": "Hello"}}]
answer = client.chat.completions.create(model="{name}", messages=messages)
print(answer.choices[0].message.content)
"""
_LANGCHAIN = """\
from langchain_openai import ChatOpenAI

model = ChatOpenAI(base_url="{url}", api_key={key}, model="{name}")
print(model.invoke("Hello").text)
"""


def _script(program: str, found: list[Endpoint]) -> dict[str, str]:
    first = found[0]
    key = 'os.environ["OPENAI_API_KEY"]' if first.keyed else f'"{NO_KEY}"'
    imports = "import os\n\n" if first.keyed else ""
    return {"ask.py": imports + program.format(url=first.url, name=first.name, key=key)}


def _continue(found: list[Endpoint]) -> dict[str, str]:
    lines = ["name: Roundhouse", "version: 1.0.0", "schema: v1", "models:"]
    for each in found:
        lines += [
            f"  - name: {each.name} ({each.model})",
            "    provider: openai",
            f"    model: {each.name}",
            f"    apiBase: {each.url}",
            "    apiKey: ${{ secrets.OPENAI_API_KEY }}" if each.keyed else f"    apiKey: {NO_KEY}",
            "    roles: [chat, edit, apply]",
            *(["    capabilities: [tool_use]"] if each.tools else []),
            "    defaultCompletionOptions:",
            f"      contextLength: {each.max_model_len}",
            f"      maxTokens: {each.answer_tokens}",
            f"      temperature: {each.temperature:g}",
        ]
    return {"config.yaml": "\n".join(lines) + "\n"}


def _vscode(found: list[Endpoint]) -> dict[str, str]:
    models = [
        {
            "id": each.name,
            "name": f"{each.name} ({each.model})",
            "url": f"{each.url}/chat/completions",
            "toolCalling": each.tools,
            "vision": False,
            "maxInputTokens": each.max_model_len - each.answer_tokens,
            "maxOutputTokens": each.answer_tokens,
        }
        for each in found
    ]
    provider: dict[str, object] = {"name": "Roundhouse", "vendor": "customendpoint", "apiType": "chat-completions"}
    # The editor asks for a real key, and writes a reference to its own store here.
    provider |= {} if found[0].keyed else {"apiKey": NO_KEY}
    return {"chatLanguageModels.json": json.dumps([provider | {"models": models}], indent=2) + "\n"}


def _aider(found: list[Endpoint]) -> dict[str, str]:
    first = found[0]
    known = {
        "litellm_provider": "openai",
        "mode": "chat",
        "max_input_tokens": first.max_model_len - first.answer_tokens,
        "max_output_tokens": first.answer_tokens,
        "max_tokens": first.answer_tokens,
        "input_cost_per_token": 0,
        "output_cost_per_token": 0,
    }
    lines = [
        f"model: openai/{first.name}",
        f"openai-api-base: {first.url}",
        *([] if first.keyed else [f"openai-api-key: {NO_KEY}"]),
        "model-metadata-file: .aider.model.metadata.json",
        # Local models of this size edit most reliably as whole files.
        "edit-format: whole",
        "analytics: false",
        "check-update: false",
        "show-release-notes: false",
    ]
    metadata = json.dumps({f"openai/{first.name}": known}, indent=2) + "\n"
    return {".aider.conf.yml": "\n".join(lines) + "\n", ".aider.model.metadata.json": metadata}


class Client(NamedTuple):
    """A client: its description for the help, and the function that returns its files."""

    about: str
    files: Callable[[list[Endpoint]], dict[str, str]]


CLIENTS = {
    "env": Client("environment variables of OpenAI's clients and examples/; one agent", _env),
    "curl": Client("a request in a shell; one agent", _curl),
    "python": Client("the openai client; one agent", partial(_script, _OPENAI)),
    "langchain": Client("LangChain's chat model; one agent", partial(_script, _LANGCHAIN)),
    "continue": Client("Continue, for VS Code and JetBrains: ~/.continue/config.yaml", _continue),
    "vscode": Client("VS Code's own chat: chatLanguageModels.json, from 'Chat: Manage Language Models'", _vscode),
    "aider": Client("aider, a coding agent in a terminal: both files in the repository's root; one agent", _aider),
}
