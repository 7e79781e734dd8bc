"""Ansible action: all that a play has to know of a host, in one task. A shim over scripts/roundhouse/inspection.py."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from roundhouse.errors import RoundhouseError
from roundhouse.provision import inspection

OPTIONS: dict[str, dict[str, Any]] = {
    "agents": {"type": "raw", "required": True},
    "models_lock": {"type": "str", "required": True},
    "settings": {"type": "dict", "required": True},
    "gpu_memory_gb": {"type": "float"},
    "again": {"type": "bool", "default": False},
    "engine_python": {"type": "str", "required": True},
    "quantize_path": {"type": "str", "required": True},
    "hub_path": {"type": "str", "required": True},
}


class ActionModule(ActionBase):
    """Returns the plan, its text, what the host lacks (findings, table), and what is there already (host)."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(OPTIONS)
        asked = inspection.Asked(**{name: given[name] for name in OPTIONS})
        try:
            inspection.refuse(asked)
            told = {"agents": asked.agents, "models_store": asked.settings["models_store"]}
            facts = self._execute_module("roundhouse_plan_facts", told, task_vars=task_vars)
            if facts.get("failed"):
                return result | facts
            plan, text = inspection.plan_of(asked, facts)
            look = inspection.look_of(asked, plan, facts)
        except RoundhouseError as error:
            return result | {"failed": True, "msg": error.message}
        seen = self._execute_module("roundhouse_preflight", look, task_vars=task_vars)
        if seen.get("failed"):
            return result | seen
        host = seen["host"] | {"plan_in_place": inspection.is_in_place(plan, facts)}
        told = {"findings": seen["findings"], "table": seen["table"], "host": host}
        return result | {"changed": False, "plan": plan, "text": text, **told}
