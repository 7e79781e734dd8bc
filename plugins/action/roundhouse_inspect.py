"""Ansible action: inspect a host and compute its plan, in one task. A shim over provision/inspection.py."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from roundhouse.errors import RoundhouseError
from roundhouse.plan import build
from roundhouse.provision import inspection
from roundhouse.roster import validate

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
        settings = build.Settings(**given["settings"])
        asked = inspection.Asked(**{name: given[name] for name in OPTIONS} | {"settings": settings})
        try:
            inspection.require_current_settings(task_vars)
            validate.require_valid(asked.agents, gateway_port=settings.gateway_port)
            options = {"agents": asked.agents, "models_store": settings.models_store}
            facts = self._execute_module("roundhouse_plan_facts", options, task_vars=task_vars)
            if facts.get("failed"):
                return result | facts
            plan, text = inspection.compute_plan(asked, facts)
            options = inspection.preflight_options(asked, plan, facts)
        except RoundhouseError as error:
            return result | error.as_result()
        found = self._execute_module("roundhouse_preflight", options, task_vars=task_vars)
        if found.get("failed"):
            return result | found
        host = found["host"] | {"plan_in_place": inspection.is_deployed(plan, facts)}
        preflight = {"findings": found["findings"], "table": found["table"], "host": host}
        return result | {"changed": False, "plan": plan, "text": text, **preflight}
