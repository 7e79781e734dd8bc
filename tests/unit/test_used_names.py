"""Each name of the package that a program outside it uses exists: a scenario would find this after minutes."""

import ast
import importlib
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from roundhouse.paths import CHECKOUT

FOLDERS = ("benchmarks", "docs", "examples", "lab", "molecule", "scripts", "tests/contract")
PROGRAMS = [path for folder in FOLDERS for path in sorted((CHECKOUT / folder).rglob("*.py"))]


def missing(source: str) -> Iterator[str]:
    """Yield each name of the package that does not exist, and that a program imports or reads from a module."""
    tree = ast.parse(source)
    modules: dict[str, types.ModuleType] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("roundhouse"):
            continue
        parent = importlib.import_module(str(node.module))
        for alias in node.names:
            found = getattr(parent, alias.name, None) or _submodule(f"{node.module}.{alias.name}")
            if found is None:
                yield f"{node.module}.{alias.name}"
            if isinstance(found, types.ModuleType):
                modules[alias.asname or alias.name] = found
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            module = modules[node.value.id]
            if not hasattr(module, node.attr) and _submodule(f"{module.__name__}.{node.attr}") is None:
                yield f"{module.__name__}.{node.attr}"


def _submodule(name: str) -> types.ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_each_used_name_of_the_package_exists(path: Path) -> None:
    assert list(missing(path.read_text())) == []


def test_a_renamed_function_and_a_removed_module_are_found() -> None:
    source = "from roundhouse.fit import sizes, kv_cache as cache, gone\nsizes.bytes_per_token()\ncache.pool()\n"
    assert list(missing(source)) == ["roundhouse.fit.gone", "roundhouse.fit.sizes.bytes_per_token"]
