"""The terms of `import`: the settings of a source, the outcome of each, and the report of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

BECAME = "became"  # the roster says the same
NEAREST = "nearest"  # the roster says what comes closest
ALREADY = "so anyway"  # nothing has to be written for it
NOTHING = "no meaning"  # neither vLLM nor the roster knows such a thing
LEFT = "not taken"  # it means something, and has no place in a roster
ADDED = "added"  # the source does not say it, and an agent needs it
_MARKS = {BECAME: "->", NEAREST: "~>", ADDED: "+>", ALREADY: "==", NOTHING: "--", LEFT: "--"}

_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|(?<![A-Z])KEY|API-KEY", re.IGNORECASE)
_COUNTS = re.compile(r"TOKENS|TOKENIZER", re.IGNORECASE)
_MODEL_OPTIONS = ("model-name", "model-id", "model-path", "hf-model", "hf-model-id", "llm-model")


class Outcome(NamedTuple):
    """What a setting becomes. `fields` are the agent's, by their names in the roster."""

    fate: str
    why: str
    fields: Mapping[str, Any] = {}

    @property
    def vllm(self) -> str:
        """Return vLLM's options for the fields."""
        return " ".join(_vllm(name, value) for name, value in self.fields.items())


class Setting(NamedTuple):
    """One setting of a source. `kind` is env, flag or key (of compose); of Ollama parameter, instruction or service.

    `value` is None for a flag without one. `text` is for the report and shows no secret.
    """

    number: int | None
    kind: str
    name: str
    value: str
    text: str

    @property
    def option(self) -> str:
        """Return the vLLM option that a variable is named after; the name itself for other kinds."""
        if self.kind != "env":
            return self.name
        name = self.name.removeprefix("VLLM_").lower().replace("_", "-")
        return "model" if name in _MODEL_OPTIONS else name


class Source(NamedTuple):
    """One service, file or Ollama model that becomes an agent. `names` are candidates for its name, the best first.

    Of Ollama alone: `model` is the outcome of FROM, and `defaults` are the fields that its service sets.
    """

    file: str
    number: int | None
    names: tuple[str, ...]
    settings: tuple[Setting, ...]
    model: Outcome | None = None
    defaults: Mapping[str, Any] = {}

    def effective(self) -> dict[str, Setting]:
        """Return the setting that counts for each option: a flag overrides a variable, a later one an earlier one."""
        kinds = ("key", "env", "flag")
        return {each.option: each for kind in kinds for each in self.settings if each.kind == kind}

    def value(self, option: str) -> str:
        """Return the value that counts for an option, empty where there is none."""
        setting = self.effective().get(option)
        return setting.value if setting else ""

    def items(self, key: str) -> list[str]:
        """Return the items of a compose list, such as ports."""
        return [each.value for each in self.settings if each.kind == "key" and each.name == key]


class Line(NamedTuple):
    """The report of one line. `became` is what the roster says; `vllm` is vLLM's option for it."""

    file: str
    number: int | None
    text: str
    fate: str
    became: str
    vllm: str
    why: str


class Imported(NamedTuple):
    """An agent and the report of its lines."""

    agent: dict[str, Any]
    lines: list[Line]


def assignment(name: str, value: str, joint: str = "=") -> str:
    """Return an assignment for the report, without the value of a secret."""
    secret = value and _SECRET.search(name) and not _COUNTS.search(name)
    return f"{name}{joint}{'...' if secret else value}"


def line(file: str, number: int | None, text: str, outcome: Outcome) -> Line:
    """Return the report of one outcome."""
    became = ", ".join(f"{name}: {_plain(value)}" for name, value in outcome.fields.items())
    return Line(file, number, text, outcome.fate, became=became, vllm=outcome.vllm, why=outcome.why)


def added(file: str, field: str, value: Any, why: str) -> Line:
    """Return the report of a field that the source does not set."""
    return line(file, None, field, Outcome(ADDED, why, {field: value}))._replace(vllm="")


def text(lines: Iterable[Line]) -> str:
    """Return the report for a person: each line, what it became, and why."""
    rows = []
    for each in lines:
        at = each.file if each.number is None else f"{each.file}:{each.number}"
        own = f" (vLLM: {each.vllm})" if each.vllm else ""
        became = f"{each.became}{own}. " if each.became else f"{each.fate}: "
        rows += [f"{at}  {each.text}", f"    {_MARKS[each.fate]} {became}{each.why}"]
    return "\n".join(rows)


def summary(lines: Iterable[Line]) -> str:
    """Return the number of lines of each fate."""
    fates = [each.fate for each in lines]
    return ", ".join(f"{fates.count(fate)} {fate}" for fate in _MARKS if fate in fates)


def _vllm(field: str, value: Any) -> str:
    """Return vLLM's option for a field of the roster."""
    if field in ("temperature", "top_p"):
        return f"--override-generation-config '{{\"{field}\": {value:g}}}'"
    if field == "gpus":
        return f"CUDA_VISIBLE_DEVICES={','.join(map(str, value))}"
    if isinstance(value, bool):
        return f"--{'' if value else 'no-'}{field.replace('_', '-')}"
    option = {"models": "model", "name": "served-model-name"}.get(field, field.replace("_", "-"))
    word = value[0]["model"] if field == "models" else f"'{json.dumps(value)}'" if isinstance(value, dict) else value
    return f"--{option} {word}"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, dict) and "model" in value and "method" not in value:
        return str(value["model"])
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_plain(each)}' for name, each in value.items())}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)
