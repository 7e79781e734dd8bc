"""Ansible module: a host's container toolkit. A shim over scripts/roundhouse/container_toolkit.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_container_toolkit_info
short_description: Tell which NVIDIA container toolkit a host has, and what is to be done about it
description:
  - Asks the package manager's database, the engine and the toolkit; changes nothing.
options:
  settings:
    description: The settings of the role.
    type: dict
    required: true
    suboptions:
      runtime:
        description: How the agents run.
        type: str
        choices: [native, compose]
        required: true
      mode:
        description: How containers get their GPUs.
        type: str
        choices: [auto, cdi, legacy]
        required: true
      version:
        description: The wanted release.
        type: str
        required: true
author: Roundhouse
"""

EXAMPLES = """
- name: Look at the toolkit
  roundhouse_container_toolkit_info:
    settings:
      runtime: compose
      mode: auto
      version: 1.19.1
"""

RETURN = """
choice:
  description: What to do, with action (skip, refuse, install), sentence, mode, missing and devices.
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse import container_engine, container_toolkit, packages


def main() -> None:
    options = {
        "runtime": {"type": "str", "choices": ["native", "compose"], "required": True},
        "mode": {"type": "str", "choices": ["auto", "cdi", "legacy"], "required": True},
        "version": {"type": "str", "required": True},
    }
    argument_spec = {"settings": {"type": "dict", "required": True, "options": options}}
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    there = packages.installed()
    settings = module.params["settings"]
    engine = container_engine.see(there) if settings["runtime"] != "native" else container_engine.NONE
    choice = container_toolkit.choose(engine, there, **settings)
    module.exit_json(changed=False, choice=choice._asdict())


if __name__ == "__main__":
    main()
