"""Read YAML files that a person edits. An error names the file, the line, the column and the line's text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    import yaml

VAULT = "$ANSIBLE_VAULT"
_SHOWN = "\n  {row}\n  {pointer}"


def read(path: Path) -> Any:
    """Return the content of a file. Raises UsageError, OSError, UnicodeDecodeError, and ImportError without PyYAML."""
    loader = _loader()
    text = path.read_text()
    check(path, text)
    made = loader(text)
    try:
        return made.get_single_data()
    finally:
        made.dispose()


def _loader() -> type[yaml.SafeLoader]:
    """Return PyYAML's safe loader: that of libyaml, which is ten times as fast, if PyYAML was built with it."""
    import yaml  # noqa: PLC0415 - hosts may have none

    found: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return found


def check(path: Path, text: str) -> None:
    """Raise UsageError for a syntax error and for a key that a mapping has twice. Tags are not resolved."""
    import yaml  # noqa: PLC0415 - hosts may have none

    if text.startswith(VAULT) or _is_json(text):
        return
    try:
        for document in yaml.compose_all(text, Loader=_loader()):
            if document is not None:
                _check_keys(path, text, document)
    except yaml.MarkedYAMLError as error:
        raise _invalid(path, text, error) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        why = " ".join(str(error).split())
        raise UsageError("yaml_invalid", "{path}: {why}.", "Remove that character.", path=str(path), why=why) from None


def _is_json(text: str) -> bool:
    """Return whether Ansible reads the text as JSON: it tries that first."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _invalid(path: Path, text: str, error: yaml.MarkedYAMLError) -> UsageError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    begun = error.context_mark if error.context_mark and error.context_mark.line != line else None
    context = f" {error.context}" if error.context else ""
    why = f"{error.problem or 'invalid YAML'}{context}" + (f" that begins in line {begun.line + 1}" if begun else "")
    row, remedy = _line(text, line), "Compare the indentation with that of the lines above:"
    if "\t" in row[: len(row) - len(row.lstrip())]:
        remedy = "Indent with spaces, not with tabs:"
    elif error.problem and "mapping values are not allowed" in error.problem:
        remedy = "Put a value that contains a colon in quotes, or correct the indentation:"
    return UsageError(
        "yaml_invalid",
        "{path}:{line}:{column}: {why}.",
        f"{remedy}{_SHOWN}",
        path=str(path),
        line=line + 1,
        column=column + 1,
        why=why,
        row=row,
        pointer=_pointer(row, column),
    )


def _check_keys(path: Path, text: str, node: yaml.Node) -> None:
    """Raise UsageError for a key that a mapping has twice; PyYAML takes the last one without an error."""
    import yaml  # noqa: PLC0415 - hosts may have none

    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _check_keys(path, text, each)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if first := seen.get(key.value):
                    raise _duplicate(path, text, first, key)
                seen[key.value] = key
            _check_keys(path, text, value)


def _duplicate(path: Path, text: str, first: yaml.Node, again: yaml.Node) -> UsageError:
    lines = [first.start_mark.line, again.start_mark.line]
    rows = "".join(f"\n  {line + 1}: {_line(text, line)}" for line in lines)
    return UsageError(
        "yaml_key_twice",
        "{path}:{line}:{column}: the key {key} stands in lines {first} and {line} of one mapping.",
        "Remove one of them:{rows}",
        path=str(path),
        line=lines[1] + 1,
        column=again.start_mark.column + 1,
        key=again.value,
        first=lines[0] + 1,
        rows=rows,
    )


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number] if number < len(lines) else ""


def _pointer(row: str, column: int) -> str:
    """Return the spaces and the caret below a column; a tab above stays a tab."""
    return "".join("\t" if each == "\t" else " " for each in row[:column].ljust(column)) + "^"
