"""Ansible module: a host's driver, its state and what is to be done. A shim over scripts/roundhouse/driver*.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_driver_info
short_description: Tell the state of a host's NVIDIA driver, and what is to be done about it
description:
  - Reads sysfs, the modules on disk, DKMS's logs, the firmware's variables and the package manager's database, and
    asks NVML; changes nothing.
options:
  settings:
    description: The settings of the role.
    type: dict
    required: true
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
- name: Look at the driver
  roundhouse_driver_info:
    settings:
      accelerator: cuda
      source: auto
      branch: 580
      version: ""
      flavour: auto
      platform: "{{ __nvidia_driver_platform }}"
      platform_name: Debian 13
"""

RETURN = """
driver:
  description: The state (a word), its sentence and its cure.
  type: dict
  returned: always
choice:
  description: >-
    What to do: action (skip, leave, refuse, install), sentence, source, flavour, packages, missing, build, upgrade,
    held, unheld, warnings.
  type: dict
  returned: always
broken:
  description: Packages that are half installed or half configured.
  type: list
  elements: str
  returned: always
settled:
  description: Whether the chosen driver is there, works and is held, and its persistence daemon is on.
  type: bool
  returned: always
users:
  description: The active units that use the driver, agents and the persistence daemon.
  type: list
  elements: str
  returned: always
seen:
  description: >-
    What was found, with kernel, next_kernel, loaded, secure_boot and gpus among it; of these what the PCI bus tells.
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse import driver, driver_choice, driver_refusals, nvml, packages, units


def main() -> None:
    options = {
        "accelerator": {"type": "str", "choices": ["cuda", "cpu"], "required": True},
        "source": {"type": "str", "choices": ["auto", "nvidia", "distribution", "none"], "required": True},
        "branch": {"type": "int", "required": True},
        "version": {"type": "str", "required": True},
        "flavour": {"type": "str", "choices": ["auto", "open", "proprietary"], "required": True},
        "platform": {"type": "dict", "required": True},
        "platform_name": {"type": "str", "required": True},
    }
    argument_spec = {"settings": {"type": "dict", "required": True, "options": options}}
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    settings = module.params["settings"]
    seen, there = driver.see(answer=nvml.state()), packages.installed()
    wanted = driver_refusals.Wanted(**{**settings, "platform": settings["platform"] or None})
    choice = driver_choice.choose(seen, wanted, there, driver_choice.read_ours())
    module.exit_json(
        changed=False,
        driver=driver.state(seen)._asdict(),
        choice=choice._asdict(),
        broken=there.broken,
        settled=driver_choice.settled(
            choice, seen, there, persistent=choice.action == "install" and units.is_on("nvidia-persistenced.service")
        ),
        users=units.active("roundhouse-*.service", "nvidia-persistenced.service") if choice.upgrade else [],
        seen=seen._asdict(),
    )


if __name__ == "__main__":
    main()
