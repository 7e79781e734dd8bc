"""One source becomes one agent: each entry is asked what it means, and what an agent lacks then is added and said."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..roster import fields as roster_fields
from ..vllm.formats import nearest
from . import compose_keys, models, report
from .compose_keys import CARDS, VISIBLE
from .models import complete, given
from .report import BECAME, LEFT, NEAREST, NOTHING, Entry, Line, Said, Source
from .vllm_options import WORDS

Values = dict[str, "str | None"]

_MODEL = ("model", "model-name", "model-id", "model-path", "hf-model", "hf-model-id", "llm-model")
_NAME_PARTS = ("vllm", "llm", "agent", "server", "service", "api", "openai", "engine", "container")
_API_PORT = "8000"  # vLLM's own default


class Made(NamedTuple):
    """An agent as it came out, and the report of its lines."""

    agent: dict[str, Any]
    lines: list[Line]


class _Reading(NamedTuple):
    source: Source
    values: Values


def make(source: Source, model: str | None = None) -> Made:
    """Return the agent of a source; `model` is taken where the source names none."""
    values = _values(source.entries)
    agent: dict[str, Any] = {}
    reading = _Reading(source, values)
    lines = []
    for entry in source.entries:
        said = _overruled(entry, source.entries) or _meaning(entry, reading)
        own = agent.get("port")
        if own and said.fields.get("port", own) != own:
            said = Said(LEFT, f"An agent answers on one port, and that is {own}.")
        fresh = {name: value for name, value in said.fields.items() if _may_set(name, entry, agent)}
        agent |= fresh
        lines.append(report.line(source.file, entry, said))
    lines += given(agent, source.file, model)
    agent["name"], told = _name(source, values)
    lines.insert(0, Line(source.file, source.number, source.names[0] or "(no name)", *told))
    lines += complete(agent, source.file)
    return Made(agent, lines)


def option(entry: Entry) -> str:
    """Return the option that a variable is named after, or the flag's or key's own name."""
    if entry.kind != "env" or entry.name in VISIBLE:
        return entry.name
    name = entry.name.removeprefix("VLLM_").lower().replace("_", "-")
    return "model" if name in _MODEL else name


def _values(entries: tuple[Entry, ...]) -> Values:
    """Return each option's value: a command's flags stand above variables, as they alone ever counted."""
    found: Values = {}
    for kind in ("key", "env", "flag"):
        found |= {option(entry): entry.value for entry in entries if entry.kind == kind}
    return found


def _overruled(entry: Entry, entries: tuple[Entry, ...]) -> Said | None:
    if entry.kind == "key":
        return None
    same = [each for each in entries if each.kind != "key" and option(each) == option(entry)]
    flags = [each for each in same if each.kind == "flag"]
    counts = (flags or same)[-1]
    return None if counts is entry else Said(LEFT, f"Line {counts.number} says it too, and that is what counted.")


def _may_set(name: str, entry: Entry, agent: Mapping[str, Any]) -> bool:
    """Return whether an entry sets a field: named cards stand above a number of them."""
    return name != "gpus" or name not in agent or entry.name == VISIBLE[0]


def _meaning(entry: Entry, reading: _Reading) -> Said:
    name, values = option(entry), reading.values
    if entry.kind == "key":
        return _around(entry, values)
    if special := _OPTIONS.get(name):
        return special(entry.value, reading)
    if reader := CARDS.get(name) or WORDS.get(name):
        return _as_a_variable(entry, reader(entry.value, values))
    return compose_keys.variable(entry.name) if entry.kind == "env" else Said(LEFT, "A roster has no word for it.")


def _around(entry: Entry, values: Values) -> Said:
    if entry.name == "volumes":
        return compose_keys.volume(entry.value)
    if entry.name == "ports":
        published, _, inside = (entry.value or "").rpartition(":")
        return compose_keys.port(published, inside.partition("/")[0], values.get("port") or _API_PORT)
    if reader := CARDS.get(entry.name):
        return reader(entry.value, values)
    return compose_keys.key(entry.name)


def _as_a_variable(entry: Entry, said: Said) -> Said:
    """Say of a variable that vLLM never had that it did nothing until now."""
    if entry.kind == "env" and entry.name.startswith("VLLM_") and said.fields:
        return said._replace(why=f"{said.why} vLLM has no variable {entry.name}: it only warned, and took its default.")
    return said


def _port(value: str | None, reading: _Reading) -> Said:
    published = [entry for entry in reading.source.entries if entry.kind == "key" and entry.name == "ports"]
    if published:
        return Said(LEFT, "It is the container's; what compose published is taken.")
    if not (value or "").isdecimal():
        return Said(LEFT, f"{value!r} is no port.")
    for problem in roster_fields.problems("port", "port", int(value or 0)):
        return Said(LEFT, problem)
    return Said(BECAME, "Its API answers there, on loopback.", {"port": int(value or 0)}, f"--port {value}")


def _served_name(value: str | None, reading: _Reading) -> Said:
    first = (value or "").split()[:1]
    if first and agent_name(first[0]) == first[0]:
        return Said(BECAME, "The agent's name is its model name on the API.", {}, f"--served-model-name {first[0]}")
    return Said(NEAREST, "The agent's name is its model name on the API; clients that said this one say the agent's.")


def _model(value: str | None, reading: _Reading) -> Said:
    return _models(value or "", reading)


def _models(name: str, reading: _Reading) -> Said:
    if not name:
        return Said(LEFT, "It is empty.")
    if name.startswith(("/", "./", "~")):
        return _folder(name, reading)
    found = models.propose(name, reading.values.get("quantization"))
    if not found.models:
        return Said(LEFT, f"{found.why}.")
    fate = BECAME if found.exact else NEAREST
    return Said(fate, f"{found.why}.", {"models": found.models}, f"--model {found.models[0]['model']}")


def _folder(name: str, reading: _Reading) -> Said:
    """Return a model of the container's as the folder of the host that was mounted there."""
    base = Path(reading.source.file).resolve().parent
    for entry in reading.source.entries:
        if entry.kind == "key" and entry.name == "volumes":
            outside, inside = (entry.value or "").split(":")[:2] if ":" in (entry.value or "") else ("", "")
            if inside and (name == inside or name.startswith(inside.rstrip("/") + "/")):
                rest = name[len(inside.rstrip("/")) :]
                name = str((base / Path(outside).expanduser()).resolve()) + rest
                break
    fields = {"models": [{"model": name}]}
    for problem in roster_fields.problems("models", "models", fields["models"]):
        return Said(LEFT, problem)
    return Said(BECAME, "A folder of the host; the plan reads its config.json there.", fields, f"--model {name}")


def _quantization(value: str | None, reading: _Reading) -> Said:
    close = nearest(value or "")
    if close:
        said = f"{value} is a llama.cpp file type: vLLM ends with 'Unknown quantization method'."
        return Said(NOTHING, f"{said} The nearest that it loads is {close}; the models say it.")
    return Said(BECAME, "The models say it: a format is the checkpoint's, and vLLM reads it there.")


def _revision(value: str | None, reading: _Reading) -> Said:
    return Said(LEFT, f"Write revision: {value} beside that model; the others have their own (models.lock pins all).")


def _name(source: Source, values: Values) -> tuple[str, tuple[str, str, str, str]]:
    served = (values.get("served-model-name") or "").split()[:1]
    wanted = [*served, *source.names]
    name = next((made for each in wanted if (made := agent_name(each))), "agent")
    why = "Its word on the command line, its model name on the API, and its unit's."
    return name, (BECAME if name in wanted else NEAREST, f"name: {name}", f"--served-model-name {name}", why)


def agent_name(text: str) -> str:
    """Return the nearest name that an agent may have; nothing where there is none."""
    parts = [part for part in re.split(r"[^a-z0-9]+", text.lower().rpartition("/")[2]) if part]
    kept = [part for part in parts if part not in _NAME_PARTS]
    name = re.sub(r"^[^a-z]+", "", "-".join(kept))[:32].strip("-")
    return f"{name}-agent" if name in roster_fields.RESERVED else name


_OPTIONS: dict[str, Callable[[str | None, _Reading], Said]] = {
    "model": _model,
    "port": _port,
    "served-model-name": _served_name,
    "quantization": _quantization,
    "revision": _revision,
}
