"""The roster: what a user wrote in group_vars/all/agents.yml, and whether it can be meant.

`problems` finds everything at once. Each problem is one sentence that names the field, the value
and what to write instead; nothing on a host is touched before the list is empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .errors import UsageError
from .formats import FORMATS, nearest

# Words of the command line, today's and those that are reserved for later: an agent's name is a
# word there too (`switch.py dev`).
RESERVED = (
    *("bench", "check", "doctor", "export", "gpu", "help", "history", "import", "logs", "models", "plan"),
    *("prune", "pull", "quantise", "ready", "resume", "status", "verify", "watch"),
)
# systemd hides these from the units (ProtectHome=, PrivateTmp=).
HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108 - refused, not used
NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
REQUIRED = ("name", "models", "port", "max_model_len", "gpu_memory_utilization", "temperature", "top_p")
OPTIONAL = ("description", "gpus", "enforce_eager", "max_num_seqs")

Agent = dict[str, Any]


def conflicts(agent: Agent, agents: list[Agent]) -> list[str]:
    """Return the names of the agents that share a GPU with this one, in the roster's order."""
    mine = set(gpus(agent))
    return [other["name"] for other in agents if other["name"] != agent["name"] and mine & set(gpus(other))]


def gpus(agent: Agent) -> list[int]:
    """Return the indices of the agent's GPUs; a roster that says nothing means the first one."""
    return list(agent.get("gpus") or [0])


def require_valid(agents: Any) -> list[Agent]:
    """Return the roster, or raise UsageError with one sentence a line."""
    found = list(problems(agents))
    if found:
        raise UsageError("roster", "\n".join(found))
    return list(agents)


def problems(agents: Any) -> Iterator[str]:
    """Yield a sentence for each thing in the roster that cannot be meant."""
    if not isinstance(agents, list) or not agents:
        what = "empty" if not agents else f"a {type(agents).__name__} and not a list"
        yield f"agents is {what}: list at least one agent in the inventory's group_vars/all/agents.yml."
        return
    for index, agent in enumerate(agents):
        if not isinstance(agent, dict):
            yield f"agents[{index}] is {agent!r}: write a mapping with {', '.join(REQUIRED)}."
            continue
        at = f"agents[{agent.get('name', index)}]"
        for key in [key for key in agent if key not in (*REQUIRED, *OPTIONAL)]:
            yield f"{at}.{key} is not a setting: write one of {', '.join((*REQUIRED, *OPTIONAL))}."
        for key in [key for key in REQUIRED if key not in agent]:
            yield f"{at}.{key} is missing: each agent has {', '.join(REQUIRED)}."
        for field, value in agent.items():
            yield from _field(at, field, value)
    good = [agent for agent in agents if isinstance(agent, dict)]
    yield from _twice(good, "name")
    yield from _twice(good, "port")


def _twice(agents: list[Agent], field: str) -> Iterator[str]:
    first: dict[Any, Any] = {}
    for agent in agents:
        value = agent.get(field)
        if value is None or isinstance(value, (dict, list)):
            continue
        if value in first:
            at = f"agents[{agent.get('name')}].{field}"
            yield f"{at} is {value}, which {first[value]} has already: give each agent a {field} of its own."
        first.setdefault(value, agent.get("name"))


def _field(at: str, field: str, value: Any) -> Iterator[str]:
    if field == "name":
        yield from _name(at, value)
    elif field == "description" and not isinstance(value, str):
        yield f"{at}.description is {value!r}: write a text."
    elif field == "models":
        yield from _models(at, value)
    elif field == "port" and not _whole(value, 1024, 65535):
        yield f"{at}.port is {value!r}: write a whole number from 1024 to 65535."
    elif field == "max_model_len" and not _whole(value, 1):
        yield f"{at}.max_model_len is {value!r}: write a whole number of tokens, such as 16384."
    elif field == "max_num_seqs" and not _whole(value, 1):
        yield f"{at}.max_num_seqs is {value!r}: write how many requests may run at once, such as 16."
    elif field == "gpu_memory_utilization" and not (_number(value) and 0 < value <= 1):
        percent = f": write {value / 100:g}" if _number(value) and 5 <= value <= 100 else ", such as 0.85"
        yield f"{at}.gpu_memory_utilization is {value!r}, and it is a share of the card, from 0 to 1{percent}."
    elif field == "temperature" and not (_number(value) and 0 <= value <= 2):
        yield f"{at}.temperature is {value!r}: write a number from 0 to 2."
    elif field == "top_p" and not (_number(value) and 0 < value <= 1):
        yield f"{at}.top_p is {value!r}: write a number above 0 and at most 1."
    elif field == "gpus" and not _gpu_list(value):
        yield f"{at}.gpus is {value!r}: write a list of GPU indices, each once, such as [0]."
    elif field == "enforce_eager" and not isinstance(value, bool):
        yield f"{at}.enforce_eager is {value!r}: write true or false."


def _name(at: str, value: Any) -> Iterator[str]:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        yield f"{at}.name is {value!r}: write a lower-case word of letters, digits and hyphens, such as dev."
    elif value in RESERVED:
        yield f"{at}.name is {value!r}, a word of the command line: choose none of {', '.join(RESERVED)}."


def _models(at: str, value: Any) -> Iterator[str]:
    if not isinstance(value, list) or not value:
        yield f"{at}.models is {value!r}: list at least one entry with `model`, best first."
        return
    for index, entry in enumerate(value):
        here = f"{at}.models[{index}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
            yield f"{here} is {entry!r}: write `model: owner/name` or `model: /path/of/a/folder`."
            continue
        model = entry["model"]
        if not model.startswith("/") and not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", model):
            yield f"{here}.model is {model!r}: write a hub's owner/name, or the absolute path of a folder."
        unknown = [key for key in entry if key not in ("model", "revision", "quantization")]
        if unknown:
            yield f"{here}.{unknown[0]} is not a setting: write model, revision or quantization."
        if model.startswith(HIDDEN):
            yield f"{here}.model is {model!r}, which an engine's unit does not see: put it below /srv, or /var/lib."
        revision = entry.get("revision", "main")
        if not isinstance(revision, str) or not re.fullmatch(r"\w[\w.-]*", revision):
            yield f"{here}.revision is {revision!r}: write a branch, a tag or a commit as a text."
        if "quantization" in entry and entry["quantization"] not in [*FORMATS]:
            yield _format(here, entry["quantization"])


def _format(here: str, value: Any) -> str:
    close = nearest(value) if isinstance(value, str) else None
    allowed = ", ".join(FORMATS)
    if close:
        return (
            f"{here}.quantization is {value!r}, a llama.cpp file type that vLLM does not load: "
            f"write {close}, the nearest of {allowed}, and name a repository in that format."
        )
    return f"{here}.quantization is {value!r}: write one of {allowed}, or leave it out."


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(value: Any, low: int, high: int | None = None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low and (high is None or value <= high)


def _gpu_list(value: Any) -> bool:
    if not isinstance(value, list) or not value or not all(_whole(index, 0) for index in value):
        return False
    return len(set(value)) == len(value)
