"""Read the metadata at the beginning of a GGUF file. The library gguf is not used: it needs numpy, which hosts lack.

Only the metadata before the tokenizer is read. Every length in the file is limited before it is used, and so is the
number of values.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

_STRING, _ARRAY = 8, 9
# Type number -> struct format.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_LONGEST = 1 << 20
_MOST_KEYS = 256
# Of all arrays together; the tags and languages of a model are a few.
_MOST_VALUES = 100_000


def read(path: Path) -> dict[str, Any]:
    """Return the strings and numbers of a GGUF file of version 2 or 3, up to the first that cannot be read."""
    found: dict[str, Any] = {}
    left = [_MOST_VALUES]
    try:
        if not path.is_file():
            return {}
        with path.open("rb") as file:
            if file.read(4) != b"GGUF" or _number(file, "I") not in (2, 3):
                return {}
            _number(file, "Q")
            for _ in range(min(_number(file, "Q"), _MOST_KEYS)):
                key = _text(file)
                if key.startswith("tokenizer."):
                    break
                value = _value(file, _number(file, "I"), left)
                if value is not None:
                    found[key] = value
    except (OSError, ValueError, KeyError, struct.error, OverflowError, RecursionError):
        pass
    return found


def _value(file: BinaryIO, kind: int, left: list[int]) -> Any:
    """Return a value; None for an array, which is skipped. `left` counts down the values of arrays."""
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        of, length = _number(file, "I"), _number(file, "Q")
        if of in _NUMBERS:
            file.seek(length * struct.calcsize(f"<{_NUMBERS[of]}"), 1)
            return None
        left[0] -= length
        if left[0] < 0:
            raise ValueError("the file has too many values")
        for _ in range(length):
            _value(file, of, left)
        return None
    return _number(file, _NUMBERS[kind])


def _text(file: BinaryIO) -> str:
    length = _number(file, "Q")
    data = file.read(min(length, _LONGEST))
    if len(data) != length:
        raise ValueError("the string is longer than the file or than 1 MiB")
    return data.decode(errors="replace")


def _number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))[0]
