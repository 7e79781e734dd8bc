"""A Modelfile on its own, as people keep them: FROM, PARAMETER, SYSTEM and the rest, each with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UsageError
from . import models, ollama_library, report
from .agent import Made, agent_name
from .models import complete, given
from .report import BECAME, LEFT, NEAREST, Entry, Line, Said

_INSTRUCTION = re.compile(r"(?P<word>\w+)(?:\s+(?P<rest>.*))?")
_WORDS = ("from", "parameter", "template", "system", "adapter", "license", "message", "requires", "capability")
_QUOTE, _QUOTES = '"', '"""'


def is_one(path: Path) -> bool:
    """Return whether a file is a Modelfile: one of its instructions is FROM."""
    return any(re.match(r"\s*from\s+\S", line, re.I) for line in path.read_text().splitlines())


def make(path: Path, model: str | None = None) -> Made:
    """Return the agent of a Modelfile; `model` is taken where what it is made FROM is not known."""
    file = str(path)
    agent: dict[str, Any] = {}
    lines: list[Line] = []
    for number, word, text in _instructions(file, path.read_text()):
        if word not in _WORDS or not text:
            said = Said(LEFT, f"It is no instruction of a Modelfile that is known here: {', '.join(_WORDS).upper()}.")
            shown = f"{word.upper()} {ollama_library.shortened(text)}".strip()
        elif word == "from":
            said, shown = _from(text), f"FROM {text}"
        elif word == "parameter":
            name, _, value = text.partition(" ")
            said, shown = ollama_library.parameter(name, _bare(value.strip())), f"PARAMETER {text}"
        else:
            said, shown = (
                ollama_library.instruction(word, text),
                f"{word.upper()} {ollama_library.shortened(text)}",
            )
        agent |= said.fields
        lines.append(report.line(file, Entry(number, "key", word, text, shown), said))
    lines += given(agent, file, model)
    agent["name"] = _name(path)
    why = "Its word on the command line, its model name on the API, and its unit's."
    lines.insert(0, report.added(file, "name", agent["name"], why))
    return Made(agent, [*lines, *complete(agent, file, ollama_library.SAMPLING)])


def _name(path: Path) -> str:
    stem = re.sub(r"^modelfile[-_.]?|[-_.]?modelfile$", "", path.name, flags=re.I)
    return agent_name(stem) or agent_name(path.resolve().parent.name) or "agent"


def _from(text: str) -> Said:
    """Return the nearest of a model of Ollama's, named as in its library."""
    family, _, tag = text.strip().rpartition("/")[2].partition(":")
    if text.lower().endswith(".gguf") or text.startswith(("/", ".", "~")):
        return Said(LEFT, "A file of llama.cpp's, which vLLM does not load: name its safetensors repository (--model).")
    found = ollama_library.by_name(family, tag or "latest")
    if found is None:
        return Said(LEFT, f"No safetensors repository of {text} is known: name one (--model OWNER/NAME).")
    form = next(iter(re.findall(r"(?:i?q\d\w*|fp16)$", tag, re.I)), "q4_K_M")  # Ollama's own usual one
    proposal = models.propose(found.repo, None if form == "fp16" else form)
    fate = BECAME if proposal.exact else NEAREST
    why = f"{found.evidence[0].upper()}{found.evidence[1:]}. {proposal.why}."
    return Said(fate, why, {"models": proposal.models})


def _instructions(file: str, content: str) -> Iterator[tuple[int, str, str]]:
    """Yield the instructions: line, word in lower case, and what follows, out of its quotes.

    Raises UsageError for quotes that are never closed: what follows them would be lost.
    """
    lines = enumerate(content.splitlines(), start=1)
    for number, line in lines:
        match = _INSTRUCTION.fullmatch(line.strip())
        if not match:
            continue
        rest = (match["rest"] or "").strip()
        if _QUOTES in rest and rest.count(_QUOTES) == 1:
            parts = [rest]
            for _, more in lines:
                parts.append(more)
                if _QUOTES in more:
                    break
            else:
                raise UsageError("import", f"{file}: the {_QUOTES} of line {number} is never closed: close it.")
            rest = "\n".join(parts)
        text = rest.replace(_QUOTES, "").strip() if _QUOTES in rest else _bare(rest)
        yield number, match["word"].lower(), text


def _bare(text: str) -> str:
    """Return a text out of its quotes, which are a pair or none."""
    paired = len(text) > 1 and text[0] == text[-1] == _QUOTE
    return text[1:-1] if paired else text
