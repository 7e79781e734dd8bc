"""The subpackages import in one direction, which docs/explanation/architecture.md shows."""

import ast
import re

from packages import PACKAGES, imports_by_module

from roundhouse.paths import CHECKOUT, PACKAGE

ORDER = list(PACKAGES)


def test_each_subpackage_has_a_layer():
    names = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    names |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert names == set(ORDER)


def test_a_subpackage_imports_only_from_below():
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


def test_all_imports_of_the_package_are_relative_except_for_types():
    """Check the imports, because within Ansible the package's name is ansible.module_utils.roundhouse.

    Ansible ships the modules of relative imports, even below TYPE_CHECKING. It does not ship those of absolute imports.
    """
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
        of_types = {id(each) for block in blocks for each in block.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("roundhouse"):
                assert id(node) in of_types, path
                assert node.module.startswith("roundhouse.schema."), path
            assert not (isinstance(node, ast.Import) and any(a.name.startswith("roundhouse") for a in node.names)), path


def test_only_one_module_runs_programs_for_their_output():
    """Check the calls; other modules pass output through, or start a program in the background."""
    calls = {
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if "subprocess.run(" in path.read_text()
    }
    assert calls == {"util/process.py", "host/journal.py", "cli/remote.py"}


def test_the_packages_init_files_stay_empty():
    """Check the files' size, because Ansible ships them to the host with each module of the package."""
    assert [path for path in PACKAGE.rglob("*/__init__.py") if path.read_text()] == []


CHANGES = (CHECKOUT / "CONTRIBUTING.md").read_text().partition("## What to change where")[2].partition("## Rules")[0]


def test_files_named_in_contributing_exist():
    named = re.findall(r"`([\w/.]+\.(?:py|j2|yml|lua))`", CHANGES)
    folders = ("", "src/roundhouse/", "src/roundhouse/doctor/")
    assert len(named) > 15
    assert [name for name in named if not any((CHECKOUT / folder / name).exists() for folder in folders)] == []


def test_files_in_contributings_table_contain_the_named_symbol():
    rows = re.findall(r"^\| [^|]+ \| `([^`]+)` \| `([^`]+)` \|", CHANGES, re.MULTILINE)
    assert len(rows) == 11
    assert [(file, name) for file, name in rows if not re.search(rf"\b{name}\b", (CHECKOUT / file).read_text())] == []
