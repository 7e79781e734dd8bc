"""Read a docker-compose file: its services as sources of agents, each setting with its line number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from . import command_line, env_file, shown
from .command_line import Text
from .names import in_file_name
from .report import DROPPED, Line, Outcome, Setting, Source, line

_MOST_NODES = 50_000
# A mapping without `services` but with one of these keys is one service, as in the guide's excerpts.
_SERVICE_KEYS = {"environment", "deploy", "command", "image", "ports", "healthcheck", "volumes"}


def sources(path: Path) -> tuple[list[Source], list[Line]]:
    """Return the services that run vLLM, and the report lines of the others. Raises UsageError."""
    variables = env_file.beside(path)
    root = _load(path, variables)
    services = _mapping(root).get("services")
    if isinstance(services, dict):
        found = [_service(path, name, body, variables) for name, body in services.items()]
    elif _SERVICE_KEYS.intersection(_mapping(root)):
        found = [_service(path, None, root, variables)]
    elif _mapping(root) and all(isinstance(value, str) for value in root.values()):
        found = [Source(str(path), 1, (in_file_name(path),), tuple(_environment(root, variables)))]
    else:
        raise UsageError(
            "no_services", "{path} is not a compose file: it has no services.", "Name a compose file.", path=str(path)
        )
    engines = [each for each in found if _is_engine(each)]
    others = [each for each in found if each not in engines]
    return engines, [line(each.file, each.number, f"{each.names[0]}:", _not_taken(each)) for each in others]


def _is_engine(source: Source) -> bool:
    image = "".join(source.items("image")[:1]).lower()
    if "vllm" in image or "ollama" in image:
        return "vllm" in image
    return bool(source.settings and not image) or any(
        (each.kind == "env" and each.name.startswith("VLLM_")) or (each.kind == "flag" and each.name == "model")
        for each in source.settings
    )


def _not_taken(source: Source) -> Outcome:
    if "ollama" in "".join(source.items("image")[:1]).lower():
        return Outcome(DROPPED, "An Ollama service is not changed; `roundhouse import ollama` converts its models.")
    return Outcome(DROPPED, "The service does not run vLLM, so it is not converted or changed.")


def _load(path: Path, variables: Mapping[str, str]) -> Any:
    """Return the content, each scalar as a Text with its variables replaced. Tags such as !override are ignored."""
    try:
        import yaml  # noqa: PLC0415 - only the controller has it
    except ModuleNotFoundError:
        raise env_file.missing("PyYAML") from None
    raw = env_file.text(path)
    lines = [(number, env_file.interpolate(row, variables)) for number, row in enumerate(raw.splitlines(), 1)]

    def construct(loader: yaml.SafeLoader, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            loader.flatten_mapping(node)
            result: dict[Any, Any] = {}
            for key, value in loader.construct_pairs(node, deep=True):
                result.pop(key, None)  # a key that << also sets keeps its own line
                result[key] = value
            return result
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        block = node.style in ("|", ">")  # the content begins on the next line
        begin, end = node.start_mark.line + block, node.end_mark.line + (not block)
        on = lines[begin:end] or [(node.start_mark.line + 1, "")]
        return command_line.on_lines(env_file.interpolate(node.value, variables), on)

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", re.compile("<<"))]}  # noqa: RUF012 - as in yaml
        yaml_constructors = {None: construct}  # noqa: RUF012 - likewise

    try:
        loader = Loader(raw)
        node = loader.get_single_node()
        return None if node is None else loader.construct_document(_small(node))
    except yaml.MarkedYAMLError as error:
        raise _invalid(path, _problem(error)) from None
    except (yaml.YAMLError, TypeError, ValueError) as error:  # a character that YAML does not allow, or a key
        raise _invalid(path, type(error).__name__ if isinstance(error, TypeError) else str(error)) from None
    except RecursionError:
        raise _invalid(path, "it is nested too deeply") from None


def _invalid(path: Path, why: str) -> UsageError:
    text = "{path} is not valid YAML ({why})."
    return UsageError("yaml_invalid", text, "Correct the file.", path=str(path), why=" ".join(why.split()))


def _problem(error: Any) -> str:
    """Return the problem and its place. The file's text is left out, because it may be a secret."""
    mark = error.problem_mark or error.context_mark
    at = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return re.sub(r"'[^']*'", "'...'", f"{error.problem or error.context}") + at


def _small(root: Any) -> Any:
    """Return a document. Raises ValueError if its aliases expand it to more than _MOST_NODES, or to itself."""
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = _MOST_NODES + 1  # the size of a node that contains itself
            parts = node.value if isinstance(node.value, list) else []
            inner = (each for part in parts for each in (part if isinstance(part, tuple) else (part,)))
            sizes[id(node)] = 1 + sum(map(size, inner))
        return sizes[id(node)]

    if size(root) > _MOST_NODES:
        raise ValueError(f"its aliases expand to more than {_MOST_NODES} values")
    return root


def _service(path: Path, name: Text | None, body: Any, variables: Mapping[str, str]) -> Source:
    settings = sorted(_settings(path, body, variables), key=lambda each: each.number or 0)
    names = [str(each) for each in (name, in_file_name(path), _mapping(body).get("container_name")) if each]
    return Source(str(path), name.number if name else 1, tuple(names or [""]), tuple(settings))


def _settings(path: Path, body: Any, variables: Mapping[str, str]) -> Iterator[Setting]:
    for key, value in _mapping(body).items():
        if key in ("environment", "ports", "volumes") and isinstance(value, str) and value:
            yield Setting(key.number, "key", f"{key}-text", value, f"{key}: {shown.HIDDEN}")
        elif key == "environment":
            yield from _environment(value, variables)
        elif key in ("command", "entrypoint"):
            words = command_line.words(value, str(path)) if isinstance(value, Text) else _texts(value)
            yield from command_line.settings(words, str(path))
        elif key == "env_file":
            yield from _env_files(path.parent, key, value)
        elif key == "deploy":
            yield from _deploy(key, value)
        elif key in ("ports", "volumes"):
            for item in _texts(value) + [_short(each) for each in _items(value) if _mapping(each)]:
                yield Setting(item.number, "key", key, str(item), f"{key}: {shown.words(item)}")
        else:
            text = str(value) if isinstance(value, str) else ""
            yield Setting(key.number, "key", key, text, shown.assignment("key", key, text, ": "))


def _environment(value: Any, variables: Mapping[str, str]) -> Iterator[Setting]:
    for key, held in (pair for each in [value, *_items(value)] for pair in _mapping(each).items()):
        yield Setting(key.number, "env", str(key), str(held), shown.assignment("env", key, str(held), ": "))
    for item in _texts(value):
        name, equals, text = (part.strip() for part in item.partition("="))
        text = text if equals else variables.get(name, "")
        said = shown.assignment("env", name, text) if equals or text else shown.name(name)
        yield Setting(item.number, "env", name, text, said)


def _env_files(folder: Path, key: Text, value: Any) -> Iterator[Setting]:
    for item in _items(value) or [value]:
        name = str(item.get("path", "") if isinstance(item, dict) else item)
        there = (folder / name).is_file()
        yield Setting(
            key.number, "key", "env_file" if there else "env_file-missing", name, f"env_file: {shown.words(name)}"
        )
        for each in env_file.read(folder / name)[0] if there else ():
            yield each._replace(number=key.number, text=f"{each.text} ({name}:{each.number})")


def _deploy(key: Text, value: Any) -> Iterator[Setting]:
    """Yield the devices of `deploy`, and its other keys as one setting."""
    resources = _mapping(_mapping(value).get("resources"))
    devices = [_mapping(each) for each in _items(_mapping(resources.get("reservations")).get("devices"))]
    for name, held in (pair for device in devices for pair in device.items()):
        text = str(held) if isinstance(held, str) else ",".join(map(str, _items(held)))
        yield Setting(name.number, "key", name, text, shown.assignment("key", name, text, ": "))
    if not any(devices) or "limits" in resources:
        yield Setting(key.number, "key", "limits", "", "deploy:")


def _short(item: Mapping[Any, Any]) -> Text:
    """Return the short form of a port or a volume from its long form."""
    names = ("source", "target") if "source" in item else ("host_ip", "published", "target")
    text = ":".join(str(item.get(name, "")) for name in names if name != "host_ip" or item.get(name))
    return command_line.on_lines(text, next(iter(item)).lines)


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> list[Text]:
    return [each for each in _items(value) if isinstance(each, Text)]
