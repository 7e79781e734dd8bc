"""Ansible vars plugin: check group_vars and host_vars before Ansible reads them. A shim over util/yaml_file.py.

In ansible-core 2.19 host_group_vars drops the file, line and column of a YAML error. A duplicate key is only a warning.
"""

from __future__ import annotations

DOCUMENTATION = """
name: roundhouse_yaml
short_description: Name the file, line and column of an error in group_vars and host_vars
description:
  - Reads the files that host_group_vars reads, and fails for invalid YAML and for duplicate keys. It sets no variable.
author: Roundhouse
"""

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.inventory.group import InventoryObjectType
from ansible.plugins.vars import BaseVarsPlugin

from roundhouse.errors import UsageError
from roundhouse.util import yaml_file

_FOLDERS = {InventoryObjectType.HOST: "host_vars", InventoryObjectType.GROUP: "group_vars"}
_CHECKED: set[str] = set()


class VarsModule(BaseVarsPlugin):
    """Check the files of each host and group once, and return no variable."""

    is_stateless = True

    def get_vars(self, loader: Any, path: str, entities: Any) -> dict[str, Any]:
        super().get_vars(loader, path, entities)
        for entity in entities if isinstance(entities, list) else [entities]:
            folder = Path(self._basedir, _FOLDERS[entity.base_type])
            place = str(folder / entity.name)
            if place in _CHECKED or not folder.is_dir() or entity.name.startswith("/"):
                continue
            _CHECKED.add(place)
            for found in loader.find_vars_files(str(folder), entity.name):
                _check(Path(found if isinstance(found, str) else found.decode()))
        return {}


def _check(path: Path) -> None:
    try:
        yaml_file.check(_short(path), path.read_text())
    except UsageError as error:
        raise AnsibleParserError(error.message) from None


def _short(path: Path) -> Path:
    """Return the path as a person would write it: relative to the current folder where it lies below that."""
    real, here = path.resolve(), Path.cwd()
    return real.relative_to(here) if real.is_relative_to(here) else real
