"""Ansible action: pull an image in the background of the host, and report its progress, as roundhouse_pull does."""

from __future__ import annotations

from typing import Any

from ansible.plugins.loader import action_loader

_Pull: Any = action_loader.get("roundhouse_pull", class_only=True)


class ActionModule(_Pull):
    """Starts, waits, returns the module's own result."""

    word = "image_pull"
    job = "pull of the image"

    def would(self) -> str:
        """Return what it would do, for check mode."""
        return f"would pull {self._task.args['image']}"
