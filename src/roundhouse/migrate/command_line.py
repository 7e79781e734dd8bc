"""The options of an old `command:` of vLLM, with their values and their lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import UsageError
from .report import Setting, assignment

# vLLM's short options (0.32).
_SHORT = {
    "-q": "quantization",
    "-tp": "tensor-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-dp": "data-parallel-size",
    "-sc": "speculative-config",
    "-cc": "compilation-config",
}
# Options without a value: the word after such a one is something else.
_WITHOUT_VALUE = re.compile(r"(no-)?(enable|disable|enforce|trust|use|headless|skip|async)(-.*)?")
_OPTION = re.compile(r"--?[A-Za-z].*", re.DOTALL)
_MODEL = re.compile(r"[\w.-]+/[\w.:-]+")
_SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash")


class Word(NamedTuple):
    """A word of a command, and the line that it is on."""

    number: int
    text: str


def words(text: str, lines: Sequence[Word], file: str = "") -> list[Word]:
    """Split a command as a shell does, and find the line of each word among the lines that the command is on."""
    try:
        # A folded YAML text may still hold the \ of a continued line.
        found = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError as error:
        place = f"{file}:{lines[0].number}".removeprefix(":")
        raise UsageError(
            "command_unreadable",
            "{place}: a shell could not read this command ({why}): {command}.",
            "Close its quotes.",
            place=place,
            why=str(error),
            command=repr(text),
        ) from None
    result, at = [], 0
    for word in found:
        first = (word.split() or [word])[0]
        at = next((index for index in range(at, len(lines)) if first in lines[index].text), at)
        result.append(Word(lines[at].number, word))
    return result


def settings(command: list[Word]) -> Iterator[Setting]:
    """Yield the options of a command, and the model that `vllm serve` is given without one."""
    if len(command) >= 3 and command[0].text in _SHELLS and command[1].text.startswith("-"):
        command = words(command[2].text, [command[2]])
    texts = [word.text for word in command]
    serves = "serve" in texts
    rest = command[texts.index("serve") + 1 :] if serves else command
    position = 0
    while position < len(rest):
        number, word = rest[position]
        position += 1
        if not _OPTION.fullmatch(word):
            if (position == 1 or "/" in word) if serves else _MODEL.fullmatch(word):
                yield Setting(number, "flag", "model", word, word)
            continue
        written, equals, value = word.partition("=")
        if written == "-m":  # of python: the module that it runs
            position += 1
            continue
        name = _SHORT.get(written) or written.lstrip("-").replace("_", "-")
        values = [value] if equals else []
        while not equals and not _WITHOUT_VALUE.fullmatch(name) and position < len(rest):
            if _OPTION.fullmatch(rest[position].text):
                break
            values.append(rest[position].text)
            position += 1
        joined = " ".join(values)
        shown = assignment(written, joined, equals or " ") if values else written
        yield Setting(number, "flag", name, joined if values else "true", shown)
