"""Read a Modelfile: FROM, PARAMETER, SYSTEM and the other instructions, each with its line number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import UsageError
from . import env_file, shown
from .names import in_file_name
from .ollama_library import by_name, proposal
from .report import DROPPED, Outcome, Setting, Source
from .rules import INSTRUCTIONS

_QUOTES = '"""'
_INSTRUCTION = re.compile(rf"^[ \t]*(\w+)(?:[ \t]+(?:(.*?){_QUOTES}([\s\S]*?){_QUOTES}.*|(.*)))?$", re.MULTILINE)


def is_modelfile(path: Path) -> bool:
    """Return true if the file has a FROM instruction."""
    return bool(re.search(r"^[ \t]*from[ \t]+\S", env_file.text(path), re.IGNORECASE | re.MULTILINE))


def source(path: Path) -> Source:
    """Return a Modelfile as the source of an agent."""
    settings = []
    model = Outcome(DROPPED, "The Modelfile names no model.")
    for number, word, text in _instructions(str(path), env_file.text(path)):
        kind, name, value = "instruction", word.lower() if word in INSTRUCTIONS and text else "unknown", text
        if name == "parameter":
            kind, name, value = name, text.split()[0].lower(), _unquoted(text.partition(" ")[2].strip())
        if name == "from":
            model = _from(text)
        settings.append(Setting(number, kind, name, value, _shown(word, kind, name, text)))
    return Source(str(path), None, (in_file_name(path), path.resolve().parent.name), tuple(settings), model)


def _shown(word: str, kind: str, name: str, text: str) -> str:
    """Return an instruction for the report; a system prompt and an unknown line may contain anything."""
    if kind == "parameter":
        return shown.assignment(kind, name, text.partition(" ")[2].strip(), " ", f"{word} {name}")
    if name == "from":
        return f"{word} {shown.words(text)}"
    return f"{word} {shown.HIDDEN}" if word in INSTRUCTIONS else shown.HIDDEN


def _from(text: str) -> Outcome:
    """Return the models that come closest to a model of Ollama's library."""
    family, _, tag = text.strip().rpartition("/")[2].partition(":")
    if text.lower().endswith(".gguf") or text.startswith(("/", ".", "~")):
        why = "vLLM does not load files of llama.cpp: name its safetensors repository (--model OWNER/NAME)."
        return Outcome(DROPPED, why)
    found = by_name(family, tag or "latest")
    if found is None:
        return Outcome(DROPPED, f"The safetensors repository of {text} is unknown: name it (--model OWNER/NAME).")
    form = next(iter(re.findall(r"(?:i?q\d\w*|fp16)$", tag, re.IGNORECASE)), "q4_K_M")  # Ollama's default
    return proposal(found, form)


def _instructions(file: str, content: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line number, keyword in upper case and unquoted argument of each instruction. Raises UsageError."""
    for match in _INSTRUCTION.finditer(content):
        number = content.count("\n", 0, match.start()) + 1
        word, before, quoted, text = (part or "" for part in match.groups())
        if _QUOTES in text:  # the following lines would be lost
            what = "{file}: the quotes of line {line} are not closed."
            raise UsageError("quotes_not_closed", what, "Close them.", file=file, line=number)
        yield number, word.upper(), f"{before}{quoted}".strip() or _unquoted(text.strip())


def _unquoted(text: str) -> str:
    """Return a string without its pair of quotes, if it has one."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
