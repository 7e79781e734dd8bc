"""Print the options of the pinned vLLM's `serve` as JSON, as vllm/serve_options.json has them. Runs with its Python.

An option's kind is found by asking its own parser for sample values, because most types are functions without a name.
"""

import argparse
import dataclasses
import inspect
import json
import sys

from vllm.entrypoints.cli import serve
from vllm.utils.argparse_utils import FlexibleArgumentParser

SAMPLES = ("3", "0.5", "word", "{}")
# By the accepted samples. A parser of text accepts all of them.
KINDS = {
    ("3",): "whole",
    ("3", "0.5"): "number",
    ("{}",): "mapping",
    ("3", "0.5", "{}"): "mapping",
    SAMPLES: "text",
}


def accepts(action, sample):
    """Return whether the option's type converts a text."""
    try:
        action.type(sample)
    except (ValueError, TypeError, argparse.ArgumentTypeError):
        return False
    return True


def dataclass_of(action):
    """Return the class whose fields a mapping has, None for a mapping of any keys or another kind."""
    inner = action.type
    while inspect.isfunction(inner):
        held = [cell.cell_contents for cell in inner.__closure__ or ()] + list(inner.__defaults__ or ())
        if classes := [each for each in held if dataclasses.is_dataclass(each)]:
            return classes[0]
        inner = next((each for each in held if callable(each)), None)
    return None


def kind_of(action):
    """Return the kind of an option's value, or text for a kind that is not among KINDS."""
    if action.nargs == 0:
        return "switch"
    if action.type is None:
        return "text"
    if action.choices:
        return "whole" if action.type is int else "text"
    accepted = tuple(sample for sample in SAMPLES if accepts(action, sample))
    if accepted == SAMPLES and isinstance(action.type("{}"), dict):
        return "text or mapping"
    if not accepted and dataclass_of(action):
        return "mapping"
    return KINDS[accepted]


def described(action):
    """Return the facts about an option; absent facts are false or empty."""
    facts = {"kind": kind_of(action)}
    if choices := [choice for choice in action.choices or () if choice is not None]:
        facts["choices"] = choices
    if action.nargs == "+" or isinstance(action, argparse._AppendAction):
        facts["many"] = True
    if any(option.startswith("--no-") for option in action.option_strings):
        facts["negated"] = True
    if facts["kind"] == "mapping" and (fields := dataclass_of(action)):
        facts["keys"] = sorted(field.name for field in dataclasses.fields(fields) if field.init)
    return facts


parser = FlexibleArgumentParser()
subparsers = parser.add_subparsers(dest="subparser")
for command in serve.cmd_init():
    served = command.subparser_init(subparsers)
found = {}
for action in served._actions:
    names = [name.removeprefix("--") for name in action.option_strings if name.startswith("--")]
    for name in names:
        if not name.startswith("no-") and name not in ("help", "config"):
            found[name] = described(action)
json.dump(found, sys.stdout, sort_keys=True)
