"""A Modelfile on its own, as people keep them: FROM, PARAMETER, SYSTEM and the rest, each with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import UsageError
from .names import in_file_name
from .ollama_library import by_name, proposal, shortened
from .report import LEFT, Outcome, Setting, Source
from .rules import INSTRUCTIONS

_QUOTES = '"""'
_INSTRUCTION = re.compile(rf"^[ \t]*(\w+)(?:[ \t]+(?:(.*?){_QUOTES}([\s\S]*?){_QUOTES}.*|(.*)))?$", re.MULTILINE)


def is_modelfile(path: Path) -> bool:
    """Return whether one of a file's instructions is FROM."""
    return bool(re.search(r"^\s*from\s+\S", path.read_text(), re.IGNORECASE | re.MULTILINE))


def source(path: Path) -> Source:
    """Return the settings of a Modelfile."""
    settings = []
    model = Outcome(LEFT, "It names no model.")
    for number, word, text in _instructions(str(path), path.read_text()):
        kind, name, value = "instruction", word.lower() if word in INSTRUCTIONS and text else "unknown", text
        if name == "parameter":
            kind, name, value = name, text.split()[0].lower(), _unquoted(text.partition(" ")[2].strip())
        if name == "from":
            model = _from(text)
        settings.append(Setting(number, kind, name, value, f"{word} {shortened(text)}".strip()))
    return Source(str(path), None, (in_file_name(path), path.resolve().parent.name), tuple(settings), model)


def _from(text: str) -> Outcome:
    """Return the nearest of a model that is named as in Ollama's library."""
    family, _, tag = text.strip().rpartition("/")[2].partition(":")
    if text.lower().endswith(".gguf") or text.startswith(("/", ".", "~")):
        why = "A file of llama.cpp's, which vLLM does not load: name its safetensors repository (--model)."
        return Outcome(LEFT, why)
    found = by_name(family, tag or "latest")
    if found is None:
        return Outcome(LEFT, f"No safetensors repository of {text} is known: name one (--model OWNER/NAME).")
    form = next(iter(re.findall(r"(?:i?q\d\w*|fp16)$", tag, re.IGNORECASE)), "q4_K_M")  # Ollama's own usual one
    return proposal(found, form)


def _instructions(file: str, content: str) -> Iterator[tuple[int, str, str]]:
    """Yield the instructions: line, word in upper case, and what follows, without its quotes."""
    for match in _INSTRUCTION.finditer(content):
        number = content.count("\n", 0, match.start()) + 1
        word, before, quoted, text = (part or "" for part in match.groups())
        if _QUOTES in text:  # what follows would be lost
            what = "{file}: the quotes of line {line} are never closed."
            raise UsageError("quotes_not_closed", what, "Close them.", file=file, line=number)
        yield number, word.upper(), f"{before}{quoted}".strip() or _unquoted(text.strip())


def _unquoted(text: str) -> str:
    """Return a text without its quotes, which are a pair or none."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
