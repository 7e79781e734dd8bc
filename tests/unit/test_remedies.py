"""A setting in the remedy of a message exists, and accepts the value."""

import ast
import re

import pytest
import yaml

from roundhouse.paths import CHECKOUT, PACKAGE

# `name: value` as in an inventory, and `set name to value`. A name has an underscore, as each setting of a host.
_NAME = r"(?P<name>[a-z]+(?:_[a-z0-9]+)+)"
_WRITTEN = re.compile(rf"\b{_NAME}: (?P<value>true|false|\d[\d.]*|(?!write\b)[a-z][a-z_]*)\b")
_SET = re.compile(rf"\b(?:[Ss]et|[Ww]rite) {_NAME}\b(?: to (?P<value>[a-z]+)(?=[.,;] ?|$))?")
# Fields of a request to the API, which some messages name.
OF_REQUESTS = ("max_tokens", "repetition_penalty")
_BOOLS = {"true", "false"}


def options():
    """Return each setting of the roles, of an agent and of host.yml, with its specification; {} without one."""
    found = {name: {} for name in yaml.safe_load((CHECKOUT / "group_vars/all/host.yml").read_text())}

    def add(given):
        for name, option in given.items():
            found[name] = option
            add(option.get("options", {}))

    for file in (CHECKOUT / "roles").glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(file.read_text())["argument_specs"].values():
            add(entry.get("options", {}))
    found["agents_runtime"] = found["container_engine_runtime"]  # the setting of host.yml that it gets
    return found


OPTIONS = options()


def texts(path):
    """Return the texts of a Python file except docstrings; a value of an f-string is {}."""
    tree = ast.parse(path.read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.JoinedStr)]
    within = {id(part) for node in found if isinstance(node, ast.JoinedStr) for part in node.values}
    within |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in found:
        if id(node) not in within:
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)


def messages(content):
    """Yield the messages of a role's YAML: the text of a failure, and why a platform's source is refused."""
    if isinstance(content, dict):
        for name, value in content.items():
            if name in ("fail_msg", "msg", "refused") and isinstance(value, str):
                yield value
            else:
                yield from messages(value)
    elif isinstance(content, list):
        for each in content:
            yield from messages(each)


def told():
    """Yield the file, the setting and its value (empty without one) of each message of the package and of the roles."""
    found = [(path, text) for path in sorted(PACKAGE.rglob("*.py")) for text in texts(path)]
    for folder in ("tasks", "vars"):
        for path in sorted((CHECKOUT / "roles").glob(f"*/{folder}/**/*.yml")):
            found += [(path, text) for text in messages(yaml.safe_load(path.read_text()))]
    for path, text in found:
        for pattern in (_WRITTEN, _SET):
            for match in pattern.finditer(" ".join(text.split())):
                yield path.relative_to(CHECKOUT).as_posix(), match["name"], match["value"] or ""


TOLD = [*told()]
PAIRS = sorted({(name, value) for _, name, value in TOLD})


def wrong(name, value):
    """Return why a setting or its value is wrong, None if both are right."""
    if name.startswith("ansible_") or name in OF_REQUESTS:  # Ansible's own
        return None
    if name not in OPTIONS:
        return "no such setting"
    option = OPTIONS[name]
    allowed = option.get("choices") or (_BOOLS if option.get("type") == "bool" else None)
    return f"accepts only {allowed}" if value and allowed and value not in allowed else None


@pytest.mark.parametrize(("name", "value"), PAIRS)
def test_a_setting_in_a_remedy_exists_and_accepts_the_value(name, value):
    assert wrong(name, value) is None, {path for path, *pair in TOLD if pair == [name, value]}


def test_the_search_finds_remedies_and_wrong_ones():
    assert {("agents_runtime", "compose"), ("nvidia_driver_source", "none"), ("nvidia_driver_reboot", "auto")} <= {
        *PAIRS
    }
    assert ("container_engine_source", "docker") in PAIRS  # of a role's vars
    assert wrong("container_engine_replaced", "true") == "no such setting"
    assert wrong("container_engine_replace", "always") is not None
    assert wrong("agents_runtime", "podman") is not None
