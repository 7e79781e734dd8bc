#!/usr/bin/env python3
"""Print vLLM's options for `engine_options` in Markdown: `docs/option_table.py passed | settings | refused`.

passed: the options that a roster may pass, with their values. settings: those that the plan computes from settings of
the roster. refused: the others, by the reason.
"""

from __future__ import annotations

import sys

import markdown_table

from roundhouse.vllm import engine_options
from roundhouse.vllm.engine_options import Option
from roundhouse.vllm.option_owners import COMPUTED, PASSED, REFUSED, SETTINGS

KINDS = {"switch": "true or false", "whole": "whole number", "number": "number from 0"}


def passed() -> str:
    """Return a row for each option that a roster may pass."""
    subjects = dict.fromkeys(COMPUTED, "Memory, computed by the fit") | PASSED
    rows = [(f"`{name}`", _value(engine_options.known()[name]), subject) for name, subject in subjects.items()]
    return markdown_table.lines(("option", "value", "subject"), rows)


def settings() -> str:
    """Return a row for each option that the plan computes from a setting of the roster."""
    return markdown_table.lines(("option", "setting"), [(f"`{name}`", f"`{each}`") for name, each in SETTINGS.items()])


def refused() -> str:
    """Return a row for each option that is refused for another reason."""
    return markdown_table.lines(("option", "reason"), [(f"`{name}`", why) for name, why in REFUSED.items()])


def _value(option: Option) -> str:
    if choices := option.get("choices"):
        return ", ".join(f"`{choice}`" for choice in choices)
    kind = KINDS.get(option["kind"], option["kind"])
    return f"list, each item: {kind}" if option.get("many") else kind


if __name__ == "__main__":
    print({"passed": passed, "settings": settings, "refused": refused}[sys.argv[1]]())
