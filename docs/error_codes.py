"""Find the errors of the package in its source: each code with the texts and remedies that it is raised with.

A code is the first argument of RoundhouseError, UsageError or a subclass, or the keyword `code` of one. An argument
that is not a literal is followed to the constants, assignments and callers that it comes from.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from roundhouse.paths import PACKAGE

CODE = re.compile(r"[a-z][a-z0-9_]*")
ERRORS = ("RoundhouseError", "UsageError", "ChangedAnswer", "ImpossiblePlan", "unreadable")
UNKNOWN = "..."
DEEPEST = 4
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Place(NamedTuple):
    """A call, the function that it is in (None at the top), and the module's tree."""

    call: ast.Call
    function: _Function | None
    module: ast.Module


class Error(NamedTuple):
    """One way in which a code is raised."""

    text: str
    remedy: str


def all_errors() -> dict[str, list[Error]]:
    """Return the errors by code, in alphabetical order."""
    found: dict[str, list[Error]] = defaultdict(list)
    for name in ERRORS:
        for place in calls().get(name, []):
            for code, error in _errors_of(place, name):
                if error not in found[code]:
                    found[code].append(error)
    for code, error in _of_tables():
        found[code].append(error)
    return dict(sorted(found.items()))


def _errors_of(place: Place, name: str) -> Iterator[tuple[str, Error]]:
    arguments = place.call.args
    code = arguments[0] if arguments else _keyword(place.call, "code")
    if code is None or isinstance(code, ast.Starred) or _makes_errors(place.function):
        return
    text: ast.expr | None
    if name == "unreadable":  # errors.unreadable(code, path, error, remedy); lock_file has another of this name
        if len(arguments) != 4:
            return
        text, remedy = ast.Constant("{path} cannot be read ({reason})."), arguments[3]
    else:
        text = arguments[1] if len(arguments) > 1 else _keyword(place.call, "text")
        remedy = arguments[2] if len(arguments) > 2 else _keyword(place.call, "remedy")
    texts = resolve(text, place) if text is not None else []
    remedies = resolve(remedy, place) if remedy is not None else [""]
    for value in resolve(code, place):
        if CODE.fullmatch(value):
            yield value, Error(texts[0] if texts else UNKNOWN, remedies[0] if remedies else "")


def _makes_errors(function: _Function | None) -> bool:
    """Return whether a function is errors.unreadable, whose calls are counted instead."""
    return function is not None and function.name == "unreadable" and function.args.args[0].arg == "code"


def _of_tables() -> Iterator[tuple[str, Error]]:
    """Yield the errors of the tables in models/hub.py, which are raised with `*found`."""
    tree = ast.parse((PACKAGE / "models/hub.py").read_text())
    for table in [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)]:
        place = Place(ast.Call(ast.Name(""), [], []), None, tree)
        for entry in table.value.values:
            parts = [resolve(each, place) for each in entry.elts] if isinstance(entry, ast.Tuple) else []
            if len(parts) == 3 and parts[0]:
                yield parts[0][0], Error(*(part[0] if part else UNKNOWN for part in parts[1:]))


@cache
def modules() -> list[ast.Module]:
    """Return the trees of the package's modules."""
    return [ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))]


@cache
def calls() -> dict[str, list[Place]]:
    """Return all calls of the package by the name of what is called."""
    found: dict[str, list[Place]] = defaultdict(list)

    def walk(node: ast.AST, function: _Function | None, module: ast.Module) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                name = getattr(child.func, "id", getattr(child.func, "attr", ""))
                found[name].append(Place(child, function, module))
            walk(child, child if isinstance(child, _Function) else function, module)

    for module in modules():
        walk(module, None, module)
    return found


def resolve(value: ast.expr, place: Place, depth: int = DEEPEST) -> list[str]:
    """Return the strings that an expression may be; none where that cannot be followed."""
    if isinstance(value, ast.Constant):
        return [value.value] if isinstance(value.value, str) else []
    if isinstance(value, ast.IfExp | ast.BoolOp):
        parts = value.values if isinstance(value, ast.BoolOp) else [value.body, value.orelse]
        return [each for part in parts for each in resolve(part, place, depth)]
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        left, right = resolve(value.left, place, depth), resolve(value.right, place, depth)
        return [a + b for a in left or [UNKNOWN] for b in right or [UNKNOWN]]
    if isinstance(value, ast.JoinedStr):
        return _joined(value, place, depth)
    if isinstance(value, ast.Attribute):
        constants = value.attr.isupper() or value.attr.startswith("_")
        return [each for module in modules() for each in _constant(value.attr, module)][:1] if constants else []
    found = _name(value.id, place, depth) if isinstance(value, ast.Name) else []
    return _call(value, place, depth) if isinstance(value, ast.Call) else found


def _call(value: ast.Call, place: Place, depth: int) -> list[str]:
    """Return the third argument of did_you_mean(word, known, otherwise), or the values of name.replace(...)."""
    if getattr(value.func, "id", "") == "did_you_mean":
        return resolve(value.args[2], place, depth) if len(value.args) > 2 else []
    names = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    return _evaluated(value, place, depth) if getattr(value.func, "attr", "") == "replace" and len(names) == 1 else []


def _joined(value: ast.JoinedStr, place: Place, depth: int) -> list[str]:
    found = [""]
    for part in value.values:
        if isinstance(part, ast.Constant):
            several = [str(part.value)]
        else:
            inner = part.value
            several = _evaluated(inner, place, depth) or [UNKNOWN]
        found = [before + each for before in found for each in several]
    return found


def _evaluated(value: ast.expr, place: Place, depth: int) -> list[str]:
    """Return the values of an expression over one name, such as option.replace("-", "_")."""
    names = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    if isinstance(value, ast.Name | ast.Attribute) or len(names) != 1:
        return resolve(value, place, depth)
    (name,) = names
    code = compile(ast.Expression(value), "a source", "eval")
    try:
        return [str(eval(code, {"__builtins__": {}}, {name: each})) for each in _name(name, place, depth)]  # noqa: S307 - our own source
    except (AttributeError, NameError, TypeError):
        return []


def _name(name: str, place: Place, depth: int) -> list[str]:
    if place.function is None or not depth:
        return _constant(name, place.module)
    before = [node for node in ast.walk(place.function) if getattr(node, "lineno", 0) <= place.call.lineno]
    assigned = [found for node in before for found in _assigned(name, node)]
    if assigned:
        # The last assignment above the call; of a loop, each of its values.
        line = max(line for line, _ in assigned)
        return [text for at, each in assigned if at == line for text in resolve(each, place, depth - 1)]
    arguments = [each.arg for each in place.function.args.args + place.function.args.kwonlyargs]
    if name not in arguments:
        return _constant(name, place.module)
    position = arguments.index(name) - (arguments[0] in ("self", "cls"))
    found = []
    for caller in calls().get(place.function.name, []):
        if place.function.name.startswith("_") and caller.module is not place.module:
            continue
        given = caller.call.args[position] if position < len(caller.call.args) else _keyword(caller.call, name)
        if given is not None and not isinstance(given, ast.Starred):
            found += resolve(given, caller, depth - 1)
    return list(dict.fromkeys(found))


def _assigned(name: str, node: ast.AST) -> Iterator[tuple[int, ast.expr]]:
    """Yield the line and each value that a statement assigns to a name."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id == name:
                yield node.lineno, node.value
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=False)
                yield from ((node.lineno, value) for each, value in pairs if getattr(each, "id", "") == name)
    elif isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple):
        for row in node.iter.elts:
            targets = node.target.elts if isinstance(node.target, ast.Tuple) else [node.target]
            values = row.elts if isinstance(row, ast.Tuple) else [row]
            pairs = zip(targets, values, strict=False)
            yield from ((node.lineno, value) for each, value in pairs if getattr(each, "id", "") == name)


def _constant(name: str, module: ast.Module) -> list[str]:
    place = Place(ast.Call(ast.Name(""), [], []), None, module)
    for node in module.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == name for target in node.targets):
            return resolve(node.value, place, 0) if isinstance(node.value, ast.Constant | ast.IfExp | ast.BinOp) else []
    return []


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((each.value for each in call.keywords if each.arg == name), None)
