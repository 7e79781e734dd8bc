"""Ansible module: a host's engine and toolkit of containers. A shim over scripts/roundhouse/container_*.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_container_info
short_description: Tell which container engine or NVIDIA container toolkit a host has, and what is to be done about it
description:
  - Asks the package manager's database, the engine and the toolkit; changes nothing.
options:
  engine:
    description: The settings of the role container_engine.
    type: dict
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
  toolkit:
    description: The settings of the role nvidia_container_toolkit.
    type: dict
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
- name: Look at the engine
  roundhouse_container_info:
    engine:
      runtime: compose
      source: docker
      replace: false
      platform: "{{ __container_engine_platform }}"
      platform_name: Debian 13

- name: Look at the toolkit
  roundhouse_container_info:
    toolkit:
      runtime: compose
      mode: auto
      version: 1.19.1
"""

RETURN = """
engine:
  description: What is there, with origin, package, version, running (names of containers) and compose.
  type: dict
  returned: when the engine was asked for
"on":
  description: Whether the engine runs and starts at boot.
  type: bool
  returned: when the engine was asked for
choice:
  description: >-
    What to do, with action (skip, refuse, install), sentence and missing; with warnings of the engine, mode and
    devices of the toolkit.
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse import container_engine, container_toolkit, packages, units

RUNTIME = {"type": "str", "choices": ["native", "compose"], "required": True}
ENGINE = {
    "runtime": RUNTIME,
    "source": {"type": "str", "choices": ["docker", "distribution"], "required": True},
    "replace": {"type": "bool", "required": True},
    "platform": {"type": "dict", "required": True},
    "platform_name": {"type": "str", "required": True},
}
TOOLKIT = {
    "runtime": RUNTIME,
    "mode": {"type": "str", "choices": ["auto", "cdi", "legacy"], "required": True},
    "version": {"type": "str", "required": True},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={"engine": {"type": "dict", "options": ENGINE}, "toolkit": {"type": "dict", "options": TOOLKIT}},
        required_one_of=[("engine", "toolkit")],
        mutually_exclusive=[("engine", "toolkit")],
        supports_check_mode=True,
    )
    there = packages.installed()
    wanted, toolkit = module.params["engine"], module.params["toolkit"]
    # A native host's engine is nobody's concern here.
    native = (wanted or toolkit)["runtime"] == "native"
    if toolkit:
        version = None if native else container_engine.version(there)
        module.exit_json(changed=False, choice=container_toolkit.choose(version, there, **toolkit)._asdict())
    engine = container_engine.NONE if native else container_engine.see(there)
    choice = container_engine.choose(engine, there, container_engine.Wanted(**wanted))
    on = engine.package is not None and units.is_on("docker.service")
    module.exit_json(changed=False, engine=engine._asdict(), on=on, choice=choice._asdict())


if __name__ == "__main__":
    main()
