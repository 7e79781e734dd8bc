"""The words of an old `command:`: vLLM's options, with their values and their lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from .errors import UsageError
from .import_source import Entry, shown

# How vLLM's short options are written out (0.32).
_SHORT = {
    "-q": "quantization",
    "-tp": "tensor-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-dp": "data-parallel-size",
    "-sc": "speculative-config",
    "-cc": "compilation-config",
}
# Options without a value; the word after such a one is something else.
_BARE = re.compile(r"(no-)?(enable|disable|enforce|trust|use|headless|skip|async)(-.*)?")
_SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash")

Word = tuple[int, str]


def words_of(text: str, lines: list[tuple[int, str]], file: str = "") -> list[Word]:
    """Split a command of a file as a shell does, and find each word's line again in the file's own lines."""
    try:
        # A line that goes on (\) is one to the shell, and a folded YAML text may still hold it.
        words = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError as error:
        place = f"{file}:{lines[0][0]}".removeprefix(":")
        why = f"{place}: a shell could not read this command either ({error}): {text!r}. Close its quotes."
        raise UsageError("import", why) from None
    found, at = [], 0
    for word in words:
        first = word.split()[0] if word.split() else word
        at = next((index for index in range(at, len(lines)) if first in lines[index][1]), at)
        found.append((lines[at][0], word))
    return found


def entries(words: list[Word]) -> Iterator[Entry]:
    """Yield the options of a command, the model that `vllm serve` is given first among them."""
    words = _inside_a_shell(words)
    serves = [index for index, (_, word) in enumerate(words) if word == "serve"]
    begin = serves[0] + 1 if serves else 0
    rest = words[begin:]
    position = 0
    while position < len(rest):
        number, word = rest[position]
        position += 1
        if not _is_option(word):
            if _is_a_model(word, after_serve=bool(serves), first=position == 1):
                yield Entry(number, "flag", "model", word, word)
            continue
        written, equals, value = word.partition("=")
        name = _SHORT.get(written) or written.lstrip("-").replace("_", "-")
        if written == "-m":  # of python: the module that it runs
            position += 1
            continue
        values = [value] if equals else []
        while not equals and not _BARE.fullmatch(name) and position < len(rest) and not _is_option(rest[position][1]):
            values.append(rest[position][1])
            position += 1
        given = " ".join(values) if values else None
        yield Entry(number, "flag", name, given, shown(written, given, "=" if equals else " "))


def _inside_a_shell(words: list[Word]) -> list[Word]:
    if len(words) >= 3 and words[0][1] in _SHELLS and words[1][1].startswith("-"):
        number, script = words[2]
        return words_of(script, [(number, script)])
    return words


def _is_option(word: str) -> bool:
    return bool(re.match(r"--?[A-Za-z]", word))


def _is_a_model(word: str, *, after_serve: bool, first: bool) -> bool:
    if after_serve:
        return first or "/" in word
    return bool(re.fullmatch(r"[\w.-]+/[\w.:-]+", word)) and not word.startswith("/")
