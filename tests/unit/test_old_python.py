"""Python 3.9, the host's own on RHEL 9, runs every module that is shipped to a host."""

import ast
import os
import shutil
import subprocess

import pytest

from roundhouse.paths import CHECKOUT, PACKAGE
from roundhouse.util.pairs import pairs

OLDEST = (3, 9)
SHIPPED = [*sorted(PACKAGE.rglob("*.py")), *sorted((CHECKOUT / "plugins/modules").glob("*.py"))]
# Names of the standard library that later versions added, and keywords of calls.
NEW_NAMES = {
    "typing": {"Concatenate", "Never", "NotRequired", "ParamSpec", "Required", "Self", "TypeAlias", "TypeGuard"}
    | {"Unpack", "assert_never", "override", "reveal_type"},
    "itertools": {"pairwise", "batched"},
    "datetime": {"UTC"},
    "enum": {"StrEnum"},
    "hashlib": {"file_digest"},
    "contextlib": {"aclosing", "chdir"},
    "ssl": {"VERIFY_X509_PARTIAL_CHAIN"},
    "types": {"EllipsisType", "NoneType", "UnionType"},
}
NEW_MODULES = {"tomllib"}
NEW_BUILTINS = {"aiter", "anext", "BaseExceptionGroup", "ExceptionGroup"}
NEW_METHODS = {"bit_count", "hardlink_to"}
NEW_KEYWORDS = {
    "zip": {"strict"},
    "dataclass": {"slots", "kw_only"},
    "field": {"kw_only"},
    "bisect": {"key"},
    "bisect_left": {"key"},
    "bisect_right": {"key"},
    "glob": {"root_dir"},
    "run": {"process_group"},
    "Popen": {"process_group"},
}
TYPES = {"bool", "bytes", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple", "type"}


def is_type(node):
    """Return true for None, a built-in type, and a type with parameters."""
    if isinstance(node, ast.Subscript):
        return is_type(node.value)
    return (isinstance(node, ast.Name) and node.id in TYPES) or (isinstance(node, ast.Constant) and node.value is None)


def run_by_python(tree):
    """Yield the nodes that Python evaluates: no annotations, and nothing for type checkers alone."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns"):
                values = value if isinstance(value, list) else [value]
                waiting += [each for each in values if isinstance(each, ast.AST)]


def newer(source):
    """Return the constructs of a source that Python 3.9 does not run, with their lines."""
    tree = ast.parse(source, feature_version=OLDEST)
    found = []
    lazy = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    for node in run_by_python(tree) if lazy else ast.walk(tree):
        what = ""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            what = "a union of types" if is_type(node.left) or is_type(node.right) else ""
        elif isinstance(node, ast.ImportFrom):
            new = [name.name for name in node.names if name.name in NEW_NAMES.get(node.module or "", ())]
            what = ", ".join(new) or (node.module if node.module in NEW_MODULES else "")
        elif isinstance(node, ast.Import):
            what = ", ".join(name.name for name in node.names if name.name in NEW_MODULES)
        elif isinstance(node, ast.Attribute):
            module = node.value.id if isinstance(node.value, ast.Name) else ""
            what = node.attr if node.attr in NEW_METHODS | NEW_NAMES.get(module, set()) else ""
        elif isinstance(node, ast.Name):
            what = node.id if node.id in NEW_BUILTINS else ""
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            given = {keyword.arg for keyword in node.keywords}
            what = ", ".join(f"{name}({keyword}=)" for keyword in sorted(NEW_KEYWORDS.get(name, set()) & given))
        if what:
            found.append(f"{node.lineno}: {what}")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "match 1:\n    case 1: pass\n",
        "from __future__ import annotations\nId = tuple[str | None, int]\n",
        "from __future__ import annotations\nisinstance(1, int | float)\n",
        "def bare(a: int | None): pass\n",
        "zip([], [], strict=True)\n",
        "@dataclass(frozen=True, kw_only=True)\nclass A: pass\n",
        "from typing import TypeAlias\n",
        "import datetime\ndatetime.UTC\n",
    ],
)
def test_a_newer_construct_is_found(source):
    try:
        found = newer(source)
    except SyntaxError:
        return
    assert found


def test_a_construct_for_type_checkers_alone_is_permitted():
    source = "if TYPE_CHECKING:\n    from typing import TypeAlias\ndef f(a: int | None) -> str | None: ...\n"
    assert not newer("from __future__ import annotations\n" + source)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_a_shipped_module_has_no_newer_construct(path):
    assert not newer(path.read_text())


def test_python_3_9_imports_every_module():
    program = shutil.which("python3.9")
    if not program or subprocess.run([program, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("python3.9 not found; the other tests of this file look for newer constructs without it")
    parts = [path.relative_to(PACKAGE.parent).with_suffix("").parts for path in sorted(PACKAGE.rglob("*.py"))]
    names = [".".join(part).removesuffix(".__init__") for part in parts]
    code = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([program, "-c", code, *names], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_pairs_refuse_lists_of_different_lengths():
    assert pairs("ab", [1, 2]) == [("a", 1), ("b", 2)]
    with pytest.raises(ValueError, match="the lengths differ: 2 and 1"):
        pairs("ab", [1])
