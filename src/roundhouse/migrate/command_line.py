"""Parse the options of an old vLLM `command:`, with their values and line numbers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from ..errors import UsageError
from . import shown
from .report import Setting

# vLLM's short options (0.32).
_SHORT = {
    "-q": "quantization",
    "-tp": "tensor-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-dp": "data-parallel-size",
    "-sc": "speculative-config",
    "-cc": "compilation-config",
}
# Options without a value: the next word does not belong to them.
_WITHOUT_VALUE = re.compile(r"(no-)?(enable|disable|enforce|trust|use|headless|skip|async)(-.*)?")
_OPTION = re.compile(r"--?[A-Za-z].*", re.DOTALL)
_MODEL = re.compile(r"[\w.-]+/[\w.:-]+")
_SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash")


class Text(str):
    """A string from a file, with its numbered lines."""

    lines: list[tuple[int, str]]

    @property
    def number(self) -> int:
        """Return the number of the first line."""
        return self.lines[0][0]


def on_lines(text: str, lines: list[tuple[int, str]]) -> Text:
    """Return a string with its lines attached."""
    result = Text(text)
    result.lines = lines
    return result


def words(command: Text, file: str) -> list[Text]:
    """Split a command like a shell, and find the line of each word. Raises UsageError."""
    try:
        # A folded YAML string may still contain the backslash of a continued line.
        found = shlex.split(command.replace("\\\n", " "), comments=True)
    except ValueError as error:
        # The command itself may contain a secret.
        text = "{file}:{line}: the command is not valid shell syntax ({why})."
        fields = {"file": file, "line": command.number, "why": str(error)}
        raise UsageError("command_unreadable", text, "Close its quotes.", **fields) from None
    result, lines = [], command.lines
    for word in found:
        first = "".join(word.split()[:1])
        lines = next((lines[index:] for index, (_, line) in enumerate(lines) if first in line), lines)
        result.append(on_lines(word, lines[:1]))
    return result


def settings(command: list[Text], file: str) -> Iterator[Setting]:
    """Yield the options of a command, and the positional model argument of `vllm serve`."""
    if len(command) >= 3 and command[0] in _SHELLS and command[1].startswith("-"):
        command = words(command[2], file)
    serves = [index for index, word in enumerate(command) if word == "serve"][:1]
    groups: list[list[Text]] = []
    for word in command[serves[0] + 1 :] if serves else command:
        if groups and not _OPTION.fullmatch(word) and _takes_values(groups[-1][0]):
            groups[-1].append(word)
        else:
            groups.append([word])
    for index, (first, *values) in enumerate(groups):
        written, equals, value = first.partition("=")
        text = value if equals else " ".join(values)
        if _OPTION.fullmatch(first) and written != "-m":  # `python -m` names a module
            name = _name(written)
            said = shown.assignment("flag", name, text, equals or " ", written)
            yield Setting(first.number, "flag", name, text if equals or values else "true", said)
        elif (serves and (index == 0 or "/" in first)) or (not serves and _MODEL.fullmatch(first)):
            yield Setting(first.number, "flag", "model", str(first), shown.words(first))


def _name(written: str) -> str:
    return _SHORT.get(written) or written.lstrip("-").replace("_", "-")


def _takes_values(word: str) -> bool:
    return bool(_OPTION.fullmatch(word)) and "=" not in word and not _WITHOUT_VALUE.fullmatch(_name(word))
