"""Ansible action: record an image's digest, on the controller. A shim over roundhouse.pins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from roundhouse import pins
from roundhouse.errors import RoundhouseError
from roundhouse.util import lock_file


class ActionModule(ActionBase):
    """Records the digest that Docker has pulled for a tag."""

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(
            {
                "path": {"type": "path", "required": True},
                "tag": {"type": "str", "required": True},
                "digests": {"type": "list", "elements": "str", "required": True},
                "mirror": {"type": "str", "default": ""},
            }
        )
        try:
            changed = pins.record(Path(given["path"]), given["tag"], given["digests"], given["mirror"])
        except RoundhouseError as error:
            return result | error.as_result()
        except OSError as error:
            return result | lock_file.unwritable(given["path"], error).as_result()
        return result | {"changed": changed}
