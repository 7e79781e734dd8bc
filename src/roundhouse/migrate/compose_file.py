"""A docker-compose file as sources of agents: its services, each setting with the line that it is on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from . import command_line, env_file
from .command_line import Word
from .names import in_file_name
from .report import LEFT, Line, Outcome, Setting, Source, assignment, line

# What makes a mapping without `services` one service: the guide shows such pieces.
_SERVICE_KEYS = ("environment", "deploy", "command", "image", "ports", "healthcheck", "volumes")
_LISTS = ("environment", "ports", "volumes")


class _Text(str):
    """A scalar of the file, with the file's lines that it is on."""

    __slots__ = ("lines",)
    lines: list[Word]

    @property
    def number(self) -> int:
        return self.lines[0].number


def sources(path: Path) -> tuple[list[Source], list[Line]]:
    """Return the services that run vLLM, and the report of the others."""
    variables = env_file.beside(path)
    root = _load(path, variables)
    services = root.get("services") if isinstance(root, dict) else None
    if isinstance(services, dict):
        found = [_service(path, name, body, variables) for name, body in services.items()]
    elif isinstance(root, dict) and any(key in root for key in _SERVICE_KEYS):
        found = [_service(path, None, root, variables)]
    elif root and isinstance(root, dict) and all(isinstance(value, str) for value in root.values()):
        found = [Source(str(path), 1, (in_file_name(path),), tuple(_environment(root, variables)))]
    else:
        raise UsageError("compose_file_without_services", "{path} has no services of Compose.", path=str(path))
    others = [
        line(str(path), each.number, f"{each.names[0]}:", Outcome(LEFT, _why_not(each)))
        for each in found
        if not _is_engine(each)
    ]
    return [each for each in found if _is_engine(each)], others


def _is_engine(source: Source) -> bool:
    image = "".join(source.items("image")[:1]).lower()
    if "vllm" in image or "ollama" in image:
        return "vllm" in image
    return bool(source.settings and not image) or any(
        (each.kind == "env" and each.name.startswith("VLLM_")) or (each.kind == "flag" and each.name == "model")
        for each in source.settings
    )


def _why_not(source: Source) -> str:
    if "ollama" in "".join(source.items("image")[:1]).lower():
        return "It is Ollama: `roundhouse import ollama` reads its models. It is left as it is."
    return "It is no vLLM, so no agent: it is left as it is."


def _load(path: Path, variables: Mapping[str, str]) -> Any:
    """Return the content, each scalar as a _Text with its variables replaced. Tags such as !override are ignored."""
    try:
        import yaml  # noqa: PLC0415 - on the controller alone
    except ModuleNotFoundError:
        raise env_file.missing("PyYAML") from None
    raw = path.read_text()
    rows = [Word(number, env_file.interpolate(row, variables)) for number, row in enumerate(raw.splitlines(), 1)]

    def construct(loader: yaml.SafeLoader, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            loader.flatten_mapping(node)
            result: dict[Any, Any] = {}
            for key, value in loader.construct_pairs(node, deep=True):
                result.pop(key, None)  # so that a key which << brings too keeps the line of its own
                result[key] = value
            return result
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        text = _Text(env_file.interpolate(node.value, variables))
        block = node.style in ("|", ">")  # it begins on the next line
        begin, end = node.start_mark.line + block, node.end_mark.line + (not block)
        text.lines = rows[begin:end] or [Word(node.start_mark.line + 1, "")]
        return text

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", re.compile("<<"))]}  # noqa: RUF012 - as in yaml
        yaml_constructors = {None: construct}  # noqa: RUF012 - likewise

    try:
        return yaml.load(raw, Loader)  # noqa: S506 - it makes texts, lists and mappings alone
    except (yaml.YAMLError, TypeError) as error:
        why = " ".join(str(error).split())
        raise UsageError("yaml_invalid", "{path} cannot be read as YAML ({why}).", path=str(path), why=why) from None


def _service(path: Path, name: _Text | None, body: Any, variables: Mapping[str, str]) -> Source:
    settings = sorted(_settings(path, body, variables), key=lambda each: each.number or 0)
    container = body.get("container_name") if isinstance(body, dict) else None
    names = tuple(str(each) for each in (name, in_file_name(path), container) if each)
    return Source(str(path), name.number if name else 1, names or ("",), tuple(settings))


def _settings(path: Path, body: Any, variables: Mapping[str, str]) -> Iterator[Setting]:
    for key, value in body.items() if isinstance(body, dict) else ():
        number = key.number
        if key in _LISTS and isinstance(value, str) and value:
            yield Setting(number, "key", f"{key}-text", value, f"{key}: {value}")
        elif key == "environment":
            yield from _environment(value, variables)
        elif key in ("command", "entrypoint"):
            yield from command_line.settings(_words(path, value))
        elif key == "env_file":
            yield from _env_files(path.parent, number, value if isinstance(value, list) else [value])
        elif key == "deploy":
            yield from _deploy(number, value)
        elif key in ("ports", "volumes"):
            for item in _items(value):
                text = _short(key, item) if isinstance(item, dict) else str(item)
                yield Setting(_number(item, number), "key", key, text, f"{key}: {text}")
        else:
            text = str(value) if isinstance(value, str) else ""
            yield Setting(number, "key", key, text, f"{key}: {text}" if text else f"{key}:")


def _environment(value: Any, variables: Mapping[str, str]) -> Iterator[Setting]:
    if isinstance(value, dict):
        for name, held in value.items():
            text = str(held) if isinstance(held, str) else ""
            yield Setting(name.number, "env", name, text, assignment(name, text, ": "))
    for item in _items(value):
        name, equals, held = str(item).partition("=")
        text = held if equals else variables.get(name, "")
        shown = assignment(name.strip(), text) if equals or text else name
        yield Setting(_number(item, 1), "env", name.strip(), text, shown)


def _env_files(folder: Path, number: int, items: list[Any]) -> Iterator[Setting]:
    for item in items:
        name = str(item.get("path", "") if isinstance(item, dict) else item)
        there = (folder / name).is_file()
        yield Setting(number, "key", "env_file" if there else "env_file-missing", name, f"env_file: {name}")
        for each in env_file.read(folder / name)[0] if there else ():
            yield each._replace(number=number, text=f"{each.text} ({name}:{each.number})")


def _deploy(number: int, value: Any) -> Iterator[Setting]:
    """Yield the devices of `deploy`, and its other keys as one."""
    resources = _inside(value, "resources")
    devices = [each for each in _items(_inside(resources, "reservations", "devices")) if isinstance(each, dict)]
    for key, held in (pair for device in devices for pair in device.items()):
        text = held if isinstance(held, str) else ",".join(map(str, _items(held)))
        yield Setting(key.number, "key", key, text, f"{key}: {text}")
    if not any(devices) or _inside(resources, "limits") is not None:
        yield Setting(number, "key", "limits", "", "deploy:")


def _words(path: Path, value: Any) -> list[Word]:
    if isinstance(value, _Text):
        return command_line.words(value, value.lines, str(path))
    return [Word(_number(item, 1), str(item)) for item in _items(value)]


def _short(key: str, item: Mapping[str, Any]) -> str:
    """Return the long form of a port or a volume as the short one."""
    if key == "volumes":
        return f"{item.get('source', '')}:{item.get('target', '')}"
    address = f"{item['host_ip']}:" if item.get("host_ip") else ""
    return f"{address}{item.get('published', '')}:{item.get('target', '')}"


def _inside(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(item: Any, default: int) -> int:
    """Return the line of a list's item."""
    first = next(iter(item), None) if isinstance(item, dict) else item
    return first.number if isinstance(first, _Text) else default
