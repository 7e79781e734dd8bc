"""Provide the types of `import`: settings, sources and outcomes, and format its report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

CONVERTED = "converted"  # The roster has the same setting.
APPROXIMATED = "approximated"  # The roster has the closest setting.
DEFAULT = "default"  # Roundhouse does this by default.
UNSUPPORTED = "unsupported"  # Neither vLLM nor the roster has such a setting.
DROPPED = "dropped"  # The setting is valid, but a roster cannot express it.
ADDED = "added"  # The source lacks it, but an agent needs it.
_MARKS = {CONVERTED: "->", APPROXIMATED: "~>", ADDED: "+>", DEFAULT: "==", UNSUPPORTED: "--", DROPPED: "--"}

_WORD = re.compile(r"[^\s'\"]+")
# The query of a URL, and the forms of common tokens. Each is linear in the length of the text.
_SECRETS = (
    (re.compile(r"(?<=\w)\?[^\s'\"]+"), "?..."),
    (re.compile(r"\b(hf_|sk-|ghp_|github_pat_|glpat-|xox[a-z]-|AKIA|eyJ)[\w.-]{6,}|(?<=Bearer )\S+"), "..."),
)
_SHOWN = 200
_MODEL_OPTIONS = ("model-name", "model-id", "model-path", "hf-model", "hf-model-id", "llm-model")


class Outcome(NamedTuple):
    """The result of converting a setting. `fields` are the agent's, by their names in the roster."""

    kind: str  # CONVERTED to ADDED
    why: str
    fields: Mapping[str, Any] = {}

    @property
    def vllm(self) -> str:
        """Return vLLM's options that correspond to the fields."""
        return " ".join(_vllm(name, value) for name, value in self.fields.items())


class Setting(NamedTuple):
    """One setting of a source. `kind` is env, flag or key (Compose), or parameter, instruction or service (Ollama).

    `text` is for the report and contains no secret.
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

    For Ollama, `model` is the outcome of FROM, and `defaults` are the fields that its service sets.
    """

    file: str
    number: int | None
    names: tuple[str, ...]
    settings: tuple[Setting, ...]
    model: Outcome | None = None
    defaults: Mapping[str, Any] = {}

    def effective(self) -> dict[str, Setting]:
        """Return the effective setting of each option: flags override variables, later settings earlier ones."""
        kinds = ("key", "env", "flag")
        return {each.option: each for kind in kinds for each in self.settings if each.kind == kind}

    def value(self, option: str) -> str:
        """Return the effective value of an option, empty if it is not set."""
        setting = self.effective().get(option)
        return setting.value if setting else ""

    def items(self, key: str) -> list[str]:
        """Return the items of a Compose list, such as ports."""
        return [each.value for each in self.settings if each.kind == "key" and each.name == key]


class Line(NamedTuple):
    """The report of one line. `outcome` is Outcome.kind, `became` the roster's settings, `vllm` vLLM's options."""

    file: str
    number: int | None
    text: str
    outcome: str
    became: str
    vllm: str
    why: str


class Imported(NamedTuple):
    """An agent, and the report lines of its source."""

    agent: dict[str, Any]
    lines: list[Line]


def redacted(text: str) -> str:
    """Return a text of the report without passwords in addresses and without common tokens."""
    text = _WORD.sub(_without_password, text)
    for secret, instead in _SECRETS:
        text = secret.sub(instead, text)
    return text


def _without_password(word: re.Match[str]) -> str:
    """Return a word without the user and the password before a host."""
    user, at, host = word[0].rpartition("@")
    return f"...@{host}" if at and ":" in user else word[0]


def line(file: str, number: int | None, text: str, outcome: Outcome) -> Line:
    """Return the report line of one outcome."""
    became = ", ".join(f"{name}: {_plain(value)}" for name, value in outcome.fields.items())
    shown = redacted(text)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return Line(file, number, shown, outcome.kind, became, outcome.vllm, why=redacted(outcome.why))


def added(file: str, field: str, value: Any, why: str) -> Line:
    """Return the report line of a field that the source does not set."""
    return line(file, None, field, Outcome(ADDED, why, {field: value}))._replace(vllm="")


def text(lines: Iterable[Line]) -> str:
    """Return the report as text: each line, its outcome and the reason."""
    rows = []
    for each in lines:
        at = each.file if each.number is None else f"{each.file}:{each.number}"
        own = f" (vLLM: {each.vllm})" if each.vllm else ""
        became = f"{each.became}{own}. " if each.became else f"{each.outcome}: "
        rows += [f"{at}  {each.text}", f"    {_MARKS[each.outcome]} {became}{each.why}"]
    return "\n".join(rows)


def summary(lines: Iterable[Line]) -> str:
    """Return the number of lines by outcome, such as "3 converted, 1 dropped"."""
    outcomes = [each.outcome for each in lines]
    return ", ".join(f"{outcomes.count(kind)} {kind}" for kind in _MARKS if kind in outcomes)


def _vllm(field: str, value: Any) -> str:
    """Return the vLLM option that corresponds to a field of the roster."""
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
