"""Check the options of vLLM that a roster passes on (`engine_options`), without vLLM.

serve_options.json has the options of the pinned vLLM's parser; a contract test compares the two. option_owners.py says
which of them a roster may pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from ..util import json_file
from ..util.suggest import did_you_mean
from . import defaults
from .option_owners import COMPUTED, PASSED, REFUSED, REFUSED_KEYS, SECRET, SETTINGS

if TYPE_CHECKING:
    from typing import TypeGuard

    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.plan import EngineConfig

LIST = Path(__file__).resolve().parent / "serve_options.json"
SWITCH, WHOLE, NUMBER, TEXT, MAPPING, TEXT_OR_MAPPING = KINDS = (
    *("switch", "whole", "number", "text", "mapping"),
    "text or mapping",
)
_LONGEST_TEXT = 1000
_DEEPEST = 8


class _Kind(TypedDict):
    kind: str  # one of KINDS


class Option(_Kind, total=False):
    """An option of vLLM's parser, as tests/contract/list_options.py describes it."""

    choices: list[str]
    many: bool  # true: it takes a list
    negated: bool  # true: the parser also has no-NAME
    keys: list[str]  # of a mapping; absent: any


@cache
def known() -> dict[str, Option]:
    """Return the options of the pinned vLLM, by their names without --."""
    return cast("dict[str, Option]", json_file.read_foreign(LIST))


def owner(name: str) -> str | None:
    """Return why an option of vLLM is refused, None for one that a roster may pass."""
    if setting := SETTINGS.get(name):
        return f"the plan sets it from {setting}: remove it, and write {setting}"
    return REFUSED.get(name)


def problems(at: str, options: object) -> Iterator[str]:
    """Yield a sentence for each problem; `at` is the setting's full name, such as agents[dev].engine_options."""
    if not isinstance(options, dict):
        yield f"{at} is {options!r}: write a mapping of vLLM's options, such as seed: 1."
        return
    for name, value in options.items():
        if name not in known():
            yield f"{at}.{name} is not an option of vLLM {defaults.PINNED}. {_nearest(str(name))}"
        elif why := owner(name):
            shown = "set" if name in SECRET else repr(value)
            yield f"{at}.{name} is {shown}, but {why}."
        elif why := _invalid(known()[name], value):
            yield f"{at}.{name} is {value!r}: write {why}."


def as_config(options: Mapping[str, object]) -> EngineConfig:
    """Return valid options for vLLM's configuration file. A false switch is written as no-NAME (vllm/options.py)."""
    made: EngineConfig = {}
    for name, value in options.items():
        if value is not False:
            made[name] = value
        elif known()[name].get("negated"):
            made[f"no-{name}"] = True
    return made


def cpu_offload_gib(options: Mapping[str, object]) -> float:
    """Return the part of each rank's weights in the host's memory, by valid options; vLLM's GB are GiB."""
    value = options.get("cpu-offload-gb", 0.0)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _nearest(name: str) -> str:
    """Return the remedy of an unknown name; command lines have two hyphens, and other settings underscores."""
    plain = name.lstrip("-").replace("_", "-")
    if plain.removeprefix("no-") in known() and plain != plain.removeprefix("no-"):
        return f"Write {plain.removeprefix('no-')}: false."
    passed = [*COMPUTED, *PASSED]
    listed = "See `vllm serve --help`, and the option's name there without its two hyphens."
    return f"Write {plain}." if plain in known() else did_you_mean(plain, passed, listed)


def _invalid(option: Option, value: object) -> str | None:
    """Return what to write instead of an invalid value, None for a valid one."""
    if not option.get("many"):
        return _invalid_one(option, value)
    if not isinstance(value, list) or not value:
        return "a list"
    return next((f"a list; each item is {why}" for why in (_invalid_one(option, each) for each in value) if why), None)


def _invalid_one(option: Option, value: object) -> str | None:
    if (choices := option.get("choices")) is not None:
        return None if value in choices else f"one of {', '.join(map(str, choices))}"
    kind = option["kind"]
    if kind in (MAPPING, TEXT_OR_MAPPING) and isinstance(value, dict):
        return _invalid_keys(option, value)
    good, cure = _VALUES[kind]
    return None if good(value) else cure


def _invalid_keys(option: Option, value: dict[object, object]) -> str | None:
    keys = [key for key in option.get("keys", ()) if key not in REFUSED_KEYS]
    if any((keys and key not in keys) or key in REFUSED_KEYS for key in value):
        return f"only the keys {', '.join(keys)}"
    return None if _is_json(value, _DEEPEST) else f"strings, numbers and true or false in at most {_DEEPEST} levels"


def _is_json(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        return levels > 0 and all(isinstance(key, str) and _is_json(each, levels - 1) for key, each in value.items())
    if isinstance(value, list):
        return levels > 0 and all(_is_json(each, levels - 1) for each in value)
    return value is None or isinstance(value, (str, bool)) or _is_number(value)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    # vLLM makes words of a command line from its file: a value with a leading hyphen would be another option.
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and value.isprintable() and value[0] != "-"


_VALUES: dict[str, tuple[Callable[[object], bool], str]] = {
    SWITCH: (lambda value: isinstance(value, bool), "true or false"),
    WHOLE: (_is_whole, "a whole number"),
    NUMBER: (lambda value: _is_number(value) and value >= 0, "a number from 0"),
    TEXT: (_is_text, "a string of one line that does not begin with a hyphen"),
    MAPPING: (lambda _: False, "a mapping"),
    TEXT_OR_MAPPING: (_is_text, "a string or a mapping"),
}
