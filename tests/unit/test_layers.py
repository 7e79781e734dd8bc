"""The subpackages import in one direction: docs/architecture.md draws what this test enforces."""

import ast
from collections import defaultdict

from roundhouse.paths import PACKAGE

# From the bottom to the top: a subpackage, or a module beside them, imports from what stands before it alone.
ORDER = (
    *("paths", "errors", "schema", "util", "vllm", "catalog", "host", "state", "pins"),
    *("models", "roster", "fit", "doctor", "plan", "migrate"),
    *("gateway", "agents", "quantize", "switch", "provision", "checkup", "bench", "cli"),
)


def imports():
    """Return (importing file, imported subpackage) for each import across subpackages."""
    found = defaultdict(set)
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = place[: len(place) - node.level]
                names = node.module.split(".") if node.module else [alias.name for alias in node.names]
                found["/".join(place)] |= {names[0]} if not base else {base[0]} - {place[0]}
            assert not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("roundhouse")), path
    return found


def test_each_subpackage_has_its_place():
    names = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    names |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert names == set(ORDER)


def test_a_subpackage_imports_from_below_alone():
    upward = [
        f"{module} imports {name}"
        for module, names in imports().items()
        for name in names
        if ORDER.index(name) >= ORDER.index(module.partition("/")[0])
    ]
    assert upward == []


def test_the_search_for_imports_finds_them():
    found = imports()
    assert found["cli/main"] >= {"errors", "plan", "util"}
    assert sum(map(len, found.values())) > 200


def test_the_packages_init_files_stay_empty():
    """Ansible ships them to the host with each module that imports from the package."""
    assert [path for path in PACKAGE.rglob("*/__init__.py") if path.read_text()] == []
