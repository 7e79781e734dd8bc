"""Ansible action: resolve models' names in the background of the host, as roundhouse_pull does."""

from __future__ import annotations

from typing import Any

from ansible.plugins.loader import action_loader

_Pull: Any = action_loader.get("roundhouse_pull", class_only=True)


class ActionModule(_Pull):
    """Starts, waits, returns the module's own result."""

    word = "resolve"

    def check(self, arguments: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        """Resolve also in check mode: it changes nothing."""
        found: dict[str, Any] = self._execute_module("roundhouse_resolve", arguments, task_vars=task_vars)
        return found
