"""Ansible module: a host's container engine. A shim over scripts/roundhouse/container_engine.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_container_engine_info
short_description: Tell which container engine a host has, and what is to be done about it
description:
  - Asks the package manager's database and the engine; changes nothing.
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
      source:
        description: Where the engine comes from.
        type: str
        choices: [docker, distribution]
        required: true
      replace:
        description: Whether an engine from elsewhere may be replaced.
        type: bool
        required: true
      platform:
        description: The host's row in the role's table of platforms; empty when it has none.
        type: dict
        required: true
      platform_name:
        description: The host's distribution, for a sentence.
        type: str
        required: true
author: Roundhouse
"""

EXAMPLES = """
- name: Look at the engine
  roundhouse_container_engine_info:
    settings:
      runtime: compose
      source: docker
      replace: false
      platform: "{{ __container_engine_platform }}"
      platform_name: Debian 13
"""

RETURN = """
engine:
  description: What is there, with origin, package, version, running (names of containers) and compose.
  type: dict
  returned: always
choice:
  description: What to do, with action (skip, refuse, install), sentence, missing and warnings.
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse import container_engine, packages


def main() -> None:
    options = {
        "runtime": {"type": "str", "choices": ["native", "compose"], "required": True},
        "source": {"type": "str", "choices": ["docker", "distribution"], "required": True},
        "replace": {"type": "bool", "required": True},
        "platform": {"type": "dict", "required": True},
        "platform_name": {"type": "str", "required": True},
    }
    argument_spec = {"settings": {"type": "dict", "required": True, "options": options}}
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    there = packages.installed()
    wanted = container_engine.Wanted(**module.params["settings"])
    # A native host's engine is nobody's concern here, and asking it takes seconds.
    engine = container_engine.see(there) if wanted.runtime != "native" else container_engine.NONE
    choice = container_engine.choose(engine, there, wanted)
    module.exit_json(changed=False, engine=engine._asdict(), choice=choice._asdict())


if __name__ == "__main__":
    main()
