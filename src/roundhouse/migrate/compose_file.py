"""The words of an old `command:`: vLLM's options, with their values and their lines.

An old docker-compose file as sources of agents: its services, each entry with the line where it stands.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UsageError
from . import env_file
from .report import Entry, Source, shown

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


_MISSING = (
    "PyYAML is missing, which a compose file needs: import on the controller (make setup, then .venv/bin/python "
    "scripts/switch.py import FILE)."
)
# What makes a mapping without `services` one service: the guide shows such pieces.
_SERVICE = ("environment", "deploy", "command", "image", "ports", "healthcheck", "volumes")
_BLOCKS = ("|", ">")


def sources(path: Path) -> tuple[list[Source], list[tuple[int, str, str]]]:
    """Return what may be agents, and the services that are none: line, name and why."""
    raw = path.read_text()
    root = _compose(path, raw)
    file = _File(path, raw, env_file.beside(path))
    top = _pairs(root) if _is_mapping(root) else {}
    if "services" in top and _is_mapping(top["services"][1]):
        made = [_service(file, name, at, node) for name, (at, node) in _pairs(top["services"][1]).items()]
    elif any(name in top for name in _SERVICE):
        made = [_service(file, "", 0, root)]
    elif top and all(_is_scalar(node) for _, node in top.values()):
        entries = [
            Entry(at + 1, "env", name, node.value, shown(name, node.value, ": ")) for name, (at, node) in top.items()
        ]
        made = [Source(str(path), 1, (of_file(path),), tuple(entries))]
    else:
        raise UsageError("import", f"{path} is no compose file: it has no services.")
    engines = [each for each in made if is_engine(each)]
    return engines, [(each.number, each.names[0], _why_not(each)) for each in made if each not in engines]


def of_file(path: Path) -> str:
    """Return the agent's name that a file's name holds, such as architect of docker-compose-architect.yml."""
    stem = path.name.lower().removesuffix(".yml").removesuffix(".yaml").removesuffix(".env")
    return re.sub(r"^(docker-)?compose[-_.]?|^modelfile[-_.]?|^\.?env[-_.]?", "", stem)


def is_engine(source: Source) -> bool:
    """Return whether a source is a vLLM."""
    image = next((entry.value or "" for entry in source.entries if entry.name == "image"), "")
    if "vllm" in image.lower():
        return True
    if "ollama" in image.lower():
        return False
    return (not image and bool(source.entries)) or any(
        (entry.kind == "env" and entry.name.startswith("VLLM_")) or (entry.kind == "flag" and entry.name == "model")
        for entry in source.entries
    )


def _why_not(source: Source) -> str:
    image = next((entry.value or "" for entry in source.entries if entry.name == "image"), "")
    if "ollama" in image.lower():
        return "It is Ollama: `roundhouse import ollama` reads its models. It is left as it is."
    return "It is no vLLM, so no agent: it is left as it is."


def _compose(path: Path, raw: str) -> Any:
    try:
        import yaml  # noqa: PLC0415 - on the controller only, and only this needs it
    except ModuleNotFoundError:
        raise UsageError("import", _MISSING) from None
    try:
        return yaml.compose(raw, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UsageError("import", f"{path} cannot be read as YAML ({' '.join(str(error).split())}).") from None


class _File(NamedTuple):
    """A compose file; `known` are the variables that its .env sets."""

    path: Path
    raw: str
    known: Mapping[str, str]


def _service(file: _File, name: str, at: int, node: Any) -> Source:
    own = of_file(file.path)
    if not _is_mapping(node):
        return Source(str(file.path), at + 1, (name, own), ())
    body = _pairs(node)
    entries = sorted(_entries(file, body), key=lambda entry: entry.number)
    container = str(body["container_name"][1].value) if "container_name" in body else ""
    names = tuple(each for each in (name, own, container) if each)
    return Source(str(file.path), at + 1, names or ("",), tuple(entries))


def _entries(file: _File, body: Mapping[str, tuple[int, Any]]) -> Iterator[Entry]:
    for key, (at, node) in body.items():
        if key in ("environment", "ports", "volumes") and _is_scalar(node) and node.value:
            yield Entry(at + 1, "key", f"{key} of one word", node.value, f"{key}: {node.value}")
        elif key == "environment":
            yield from _environment(node, file.known)
        elif key in ("command", "entrypoint"):
            yield from entries(_words(node, file))
        elif key == "env_file":
            yield from _env_files(file.path, at, node)
        elif key == "deploy":
            yield from _devices(at, node)
        elif key in ("ports", "volumes"):
            for item in _items(node):
                short = _short(item, key) if _is_mapping(item) else env_file.put_in(item.value, file.known)
                yield Entry(item.start_mark.line + 1, "key", key, short, f"{key}: {short}")
        else:
            value = env_file.put_in(node.value, file.known) if _is_scalar(node) else None
            yield Entry(at + 1, "key", key, value, f"{key}: {value}" if value else f"{key}:")


def _environment(node: Any, known: Mapping[str, str]) -> Iterator[Entry]:
    if _is_mapping(node):
        for name, (at, held) in _pairs(node).items():
            value = env_file.put_in(held.value, known) if _is_scalar(held) else None
            yield Entry(at + 1, "env", name, value, shown(name, value, ": "))
        return
    for item in _items(node):
        name, equals, told = str(item.value).partition("=")
        value = env_file.put_in(told, known) if equals else known.get(name)
        yield Entry(item.start_mark.line + 1, "env", name.strip(), value, shown(name.strip(), value))


def _env_files(path: Path, at: int, node: Any) -> Iterator[Entry]:
    for item in _items(node) or [node]:
        told = _inside(item, "path") if _is_mapping(item) else item
        named = str(told.value) if _is_scalar(told) else ""
        file = path.parent / named
        name = "env_file" if file.is_file() else "env_file that is not there"
        yield Entry(at + 1, "key", name, named, f"env_file: {named}")
        for entry in env_file.read(file)[0] if file.is_file() else []:
            yield entry._replace(number=at + 1, text=f"{entry.text} ({named}:{entry.number})")


def _devices(at: int, node: Any) -> Iterator[Entry]:
    """Yield what `deploy` says of devices, and its other keys."""
    resources = _inside(_inside(node, "resources"), "reservations")
    devices = _inside(resources, "devices")
    found = False
    for device in _items(devices) if devices is not None else []:
        for name, (line, held) in _pairs(device).items():
            found = True
            value = ",".join(str(item.value) for item in _items(held)) if not _is_scalar(held) else held.value
            yield Entry(line + 1, "key", name, value, f"{name}: {value}")
    if not found or _inside(_inside(node, "resources"), "limits") is not None:
        yield Entry(at + 1, "key", "limits", None, "deploy:")


def _words(node: Any, file: _File) -> list[Word]:
    if not _is_scalar(node):
        return [(item.start_mark.line + 1, env_file.put_in(str(item.value), file.known)) for item in _items(node)]
    first, last = node.start_mark.line, max(node.end_mark.line, node.start_mark.line + 1)
    begin = first + 1 if node.style in _BLOCKS else first
    lines = [(number, env_file.put_in(text, file.known)) for number, text in enumerate(file.raw.splitlines(), 1)]
    told = env_file.put_in(node.value, file.known)
    return words_of(told, lines[begin:last] or lines[first : first + 1], str(file.path))


def _short(node: Any, key: str) -> str:
    """Return the long form of a port or a volume in its short one."""
    held = {name: value.value for name, (_, value) in _pairs(node).items()}
    if key == "volumes":
        return f"{held.get('source', '')}:{held.get('target', '')}"
    address = f"{held['host_ip']}:" if held.get("host_ip") else ""
    return f"{address}{held.get('published', '')}:{held.get('target', '')}"


def _pairs(node: Any) -> dict[str, tuple[int, Any]]:
    """Return a mapping's keys with their lines and values; what `<<` brings stands behind its own."""
    if not _is_mapping(node):
        return {}
    own: dict[str, tuple[int, Any]] = {}
    merged: dict[str, tuple[int, Any]] = {}
    for key, value in node.value:
        if key.value == "<<":
            for each in [value] if _is_mapping(value) else _items(value):
                merged = _pairs(each) | merged
        else:
            own[str(key.value)] = (key.start_mark.line, value)
    return merged | own


def _inside(node: Any, name: str) -> Any:
    return _pairs(node).get(name, (0, None))[1] if node is not None else None


def _items(node: Any) -> list[Any]:
    return list(node.value) if node is not None and node.id == "sequence" else []


def _is_mapping(node: Any) -> bool:
    return node is not None and node.id == "mapping"


def _is_scalar(node: Any) -> bool:
    return node is not None and node.id == "scalar"
