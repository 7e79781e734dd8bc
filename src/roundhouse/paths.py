"""Locations of the program's own files."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parent
# The entry of PYTHONPATH that makes `import roundhouse` work in another interpreter.
IMPORT_ROOT = PACKAGE.parent
# The repository that the package lies in. An installed package has none; a function that needs it raises an error.
CHECKOUT = IMPORT_ROOT.parent


def program(module: ModuleType) -> str:
    """Return a module's name for `python -m`; within Ansible the package has a longer one."""
    return f"{PACKAGE.name}.{module.__name__.partition(f'{PACKAGE.name}.')[2]}"
