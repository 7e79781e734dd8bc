"""List the settings of the roles for driver, container engine and toolkit, as options of an Ansible module.

The modules roundhouse_component_info and roundhouse_preflight accept them.
"""

from __future__ import annotations

from typing import Any

# The settings of each role by component, as options of a module.
_RUNTIME = {"type": "str", "choices": ["native", "compose"], "required": True}
_PLATFORM = {"platform": {"type": "dict", "required": True}, "platform_name": {"type": "str", "required": True}}
_DRIVER = {
    "accelerator": {"type": "str", "choices": ["cuda", "cpu"], "required": True},
    "source": {"type": "str", "choices": ["auto", "nvidia", "distribution", "none"], "required": True},
    "branch": {"type": "int", "required": True},
    "version": {"type": "str", "required": True},
    "flavour": {"type": "str", "choices": ["auto", "open", "proprietary"], "required": True},
    **_PLATFORM,
}
_ENGINE = {
    "runtime": _RUNTIME,
    "source": {"type": "str", "choices": ["auto", "docker", "distribution", "none"], "required": True},
    "replace": {"type": "bool", "required": True},
    **_PLATFORM,
}
_TOOLKIT = {
    "runtime": _RUNTIME,
    "source": {"type": "str", "choices": ["auto", "nvidia", "none"], "required": True},
    "mode": {"type": "str", "choices": ["auto", "cdi", "legacy"], "required": True},
    "version": {"type": "str", "required": True},
}
OPTIONS: dict[str, dict[str, Any]] = {
    name: {"type": "dict", "options": each}
    for name, each in (("driver", _DRIVER), ("engine", _ENGINE), ("toolkit", _TOOLKIT))
}
