"""Ansible action: inspect a host and compute its plan, in one task. A shim over provision/inspection.py."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from roundhouse.errors import RoundhouseError
from roundhouse.paths import CHECKOUT
from roundhouse.plan import build
from roundhouse.provision import inspection, preflight_table
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
    "components": {"type": "dict", "default": {}},
    "apt_sources": {"type": "dict", "default": {}},
}
ROLES = ("nvidia_driver", "container_engine", "nvidia_container_toolkit")


class ActionModule(ActionBase):
    """Returns the plan, its text, the table of the host (rows, table, findings), and what is there already (host)."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(OPTIONS)
        settings = build.Settings(**given["settings"])
        asked = inspection.Asked(**{name: given[name] for name in OPTIONS} | {"settings": settings})
        try:
            inspection.require_current_settings(task_vars)
            inspection.require_valid_settings(self._invalid_settings(task_vars) if asked.components else [])
            inspection.require_python(task_vars.get("ansible_facts", {}).get("python_version"))
            validate.require_valid(asked.agents, gateway_port=settings.gateway_port)
            options = {"agents": asked.agents, "models_store": settings.models_store}
            facts = self._execute_module("roundhouse_plan_facts", options, task_vars=task_vars)
            if facts.get("failed"):
                return result | facts
            plan, text = inspection.compute_plan(asked, facts)
        except inspection.ImpossiblePlan as error:
            found = self._check(inspection.preflight_options(asked, None, facts), task_vars)
            return result | found | error.with_findings(found.get("findings", [])).as_result()
        except RoundhouseError as error:
            return result | error.as_result()
        found = self._check(inspection.preflight_options(asked, plan, facts), task_vars)
        if found.get("failed"):
            return result | found
        found["host"] |= {"plan_in_place": inspection.is_deployed(plan, facts)}
        return result | {"changed": False, "plan": plan, "text": preflight_table.fitted(text), **found}

    def _check(self, options: dict[str, object], task_vars: Any) -> dict[str, Any]:
        """Return the host's findings, rows and table, or the failed result of the module."""
        found = self._execute_module("roundhouse_preflight", options, task_vars=task_vars)
        if found.get("failed"):
            return dict(found)
        parts = {name: found[name] for name in ("findings", "rows", "host")}
        return parts | {"table": preflight_table.text(found["rows"])}

    def _invalid_settings(self, task_vars: Any) -> list[str]:
        """Return a sentence for each setting of the roles that their argument specifications refuse."""
        errors = []
        for role in ROLES:
            file = CHECKOUT / "roles" / role / "meta/argument_specs.yml"
            options = self._loader.load_from_file(str(file))["argument_specs"]["main"]["options"]
            given = {name: self._templar.template(task_vars[name]) for name in options if name in task_vars}
            errors += ArgumentSpecValidator(options).validate(given).error_messages
        return errors
