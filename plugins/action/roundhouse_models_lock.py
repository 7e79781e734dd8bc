"""Ansible action: the lock file beside the roster, on the controller. A shim over roundhouse.models.lock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from roundhouse.errors import RoundhouseError
from roundhouse.models import lock
from roundhouse.util import lock_file


class ActionModule(ActionBase):
    """Records what is not locked yet; a later host gets what the first one recorded."""

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(
            {
                "path": {"type": "path", "required": True},
                "found": {"type": "dict", "required": True},
                "relock": {"type": "bool", "default": False},
            }
        )
        path, check = Path(given["path"]), self._task.check_mode
        before = path.read_text() if path.exists() else ""
        try:
            locked, changed = lock.record(path, given["found"], relock=given["relock"], check=check)
        except RoundhouseError as error:
            return result | error.as_result()
        except OSError as error:
            return result | lock_file.unwritable(path, error).as_result()
        diff = {"before": before, "after": lock.text(locked), "before_header": str(path)}
        return result | {"changed": bool(changed), "locked": changed, "diff": diff}
