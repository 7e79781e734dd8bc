"""The subpackages import in one direction, which docs/architecture.md shows."""

import ast

from packages import PACKAGES, imports_by_module

from roundhouse.paths import PACKAGE

ORDER = list(PACKAGES)


def test_each_subpackage_has_its_place():
    names = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    names |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert names == set(ORDER)


def test_a_subpackage_imports_from_below_alone():
    upward = [
        f"{module} imports {name}"
        for module, names in imports_by_module().items()
        for name in names
        if module != "__init__" and ORDER.index(name) > ORDER.index(module.partition("/")[0])
    ]
    assert upward == []


def test_the_search_for_imports_finds_them():
    found = imports_by_module()
    assert found["cli/main"] >= {"errors", "plan", "util"}
    assert sum(map(len, found.values())) > 200


def test_all_imports_of_the_package_are_relative():
    """Within Ansible its name is ansible.module_utils.roundhouse."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("roundhouse")), path
            assert not (isinstance(node, ast.Import) and any(a.name.startswith("roundhouse") for a in node.names)), path


def test_the_packages_init_files_stay_empty():
    """Ansible ships them to the host with each module that imports from the package."""
    assert [path for path in PACKAGE.rglob("*/__init__.py") if path.read_text()] == []
