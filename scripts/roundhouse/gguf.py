"""What the head of a GGUF file says of its model. Only the head is read, and nothing of it is trusted to be short."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

_MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
# The formats of the other types by their numbers.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_LONGEST = 1 << 20
_MOST_KEYS = 256
_END = "tokenizer."  # what comes from here on is megabytes of words


class _Unreadable(ValueError):
    """The file is not what its first bytes say."""


def head(path: Path) -> dict[str, Any]:
    """Return the texts and numbers before the tokenizer's; nothing where the file is no GGUF of version 2 or 3."""
    try:
        with path.open("rb") as file:
            return _head(file)
    except OSError:
        return {}


def _head(file: BinaryIO) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        if file.read(4) != _MAGIC or _number(file, "I") not in (2, 3):
            return {}
        _number(file, "Q")
        count = min(int(_number(file, "Q")), _MOST_KEYS)
        for _ in range(count):
            key, kind = _text(file), int(_number(file, "I"))
            if key.startswith(_END):
                break
            value = _value(file, kind)
            if value is not None:
                found[key] = value
    except _Unreadable:
        pass  # what was read until here is said all the same
    return found


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        of, length = int(_number(file, "I")), int(_number(file, "Q"))
        for _ in range(min(length, _LONGEST)):
            _value(file, of)
        return None
    if kind not in _NUMBERS:
        raise _Unreadable
    return _number(file, _NUMBERS[kind])


def _text(file: BinaryIO) -> str:
    length = int(_number(file, "Q"))
    if length > _LONGEST:
        raise _Unreadable
    return _exactly(file, length).decode(errors="replace")


def _number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(f"<{form}", _exactly(file, struct.calcsize(f"<{form}")))[0]


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise _Unreadable
    return data
