"""Ansible module: a host's driver, container engine and toolkit. Over provision/component_info.py.

One module inspects all three components, and roundhouse_host_files writes all files. The first use of a module in a run
costs 0.2 s, because Ansible collects the Python that it ships. The next use costs no more than a ping.
"""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_component_info
short_description: Inspect a host's NVIDIA driver, container engine or container toolkit, and choose an action
description:
  - Inspects one of them and changes nothing.
  - For the driver it reads sysfs, DKMS's logs, the firmware's variables and dpkg's database, and asks modinfo and NVML.
    For the other two it asks dpkg, Docker and the toolkit.
options:
  driver:
    description: The settings of the role nvidia_driver.
    type: dict
    suboptions:
      accelerator:
        description: What the engine runs on.
        type: str
        choices: [cuda, cpu]
        required: true
      source:
        description: Where the driver comes from.
        type: str
        choices: [auto, nvidia, distribution, none]
        required: true
      branch:
        description: The driver's branch.
        type: int
        required: true
      version:
        description: One release of the branch; any when empty.
        type: str
        required: true
      flavour:
        description: The flavour of the kernel modules.
        type: str
        choices: [auto, open, proprietary]
        required: true
      platform: &platform
        description: The host's row in the role's table of platforms; empty when it has none.
        type: dict
        required: true
      platform_name: &platform_name
        description: The host's distribution, for a sentence.
        type: str
        required: true
  engine:
    description: The settings of the role container_engine.
    type: dict
    suboptions:
      runtime: &runtime
        description: How the agents run.
        type: str
        choices: [native, compose]
        required: true
      source:
        description: Where the engine comes from; auto keeps one that works, none installs nothing.
        type: str
        choices: [auto, docker, distribution, none]
        required: true
      replace:
        description: Whether an engine from elsewhere may be replaced.
        type: bool
        required: true
      platform: *platform
      platform_name: *platform_name
  toolkit:
    description: The settings of the role nvidia_container_toolkit.
    type: dict
    suboptions:
      runtime: *runtime
      source:
        description: Where the toolkit comes from; auto keeps one that works, none installs nothing.
        type: str
        choices: [auto, nvidia, none]
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
- name: Inspect the driver
  roundhouse_component_info:
    driver:
      accelerator: cuda
      source: auto
      branch: 580
      version: ""
      flavour: auto
      platform: "{{ __nvidia_driver_platform }}"
      platform_name: Debian 13

- name: Inspect the engine
  roundhouse_component_info:
    engine:
      runtime: compose
      source: auto
      replace: false
      platform: "{{ __container_engine_platform }}"
      platform_name: Debian 13

- name: Inspect the toolkit
  roundhouse_component_info:
    toolkit:
      runtime: compose
      source: auto
      mode: auto
      version: 1.20.1
"""

RETURN = """
choice:
  description: >-
    What to do, with action (skip, keep, install, upgrade, refuse), sentence and missing; with problems, managed,
    source, flavour, packages, build, specs, rebuild, upgrade, held, unheld, to_unhold, needs_index and warnings of the
    driver; with warnings, problems, source, configures and excluded of the engine; with warnings, problems, mode,
    devices, managed, daemon and orders_docker of the toolkit.
  type: dict
  returned: always
driver:
  description: The state (a word), its sentence and its cure.
  type: dict
  returned: when the driver is inspected
broken:
  description: Packages that are half installed or half configured.
  type: list
  elements: str
  returned: when the driver is inspected
settled:
  description: Whether the chosen driver is there, works and is held, and its persistence daemon is on.
  type: bool
  returned: when the driver is inspected
users:
  description: The active units that use the driver, agents and the persistence daemon.
  type: list
  elements: str
  returned: when the driver is inspected
facts:
  description: >-
    What was found, with kernel, next_kernel, without_module, loaded, secure_boot and gpus among it; of these what the
    PCI bus tells.
  type: dict
  returned: when the driver is inspected
engine:
  description: >-
    What is there, with origin, package, version, running (names of containers), compose, others (containers that
    Roundhouse did not create), own, configured, has_unit, swarm, live_restore, cdi, has_runtime and rivals.
  type: dict
  returned: when the engine is inspected
"on":
  description: Whether the engine runs and starts at boot.
  type: bool
  returned: when the engine is inspected
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.provision import component_info, component_options


def main() -> None:
    names = tuple(component_options.OPTIONS)
    module = AnsibleModule(
        argument_spec=component_options.OPTIONS,
        required_one_of=[names],
        mutually_exclusive=[names],
        supports_check_mode=True,
    )
    ((name, settings),) = [(name, given) for name, given in module.params.items() if given is not None]
    module.exit_json(changed=False, **component_info.INSPECTIONS[name](settings))


if __name__ == "__main__":
    main()
