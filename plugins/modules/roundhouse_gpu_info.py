"""Ansible module: the host's NVIDIA GPUs. A shim over scripts/roundhouse/gpu.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_gpu_info
short_description: Tell which NVIDIA GPUs a host has, without a driver
description:
  - Reads sysfs; changes nothing. A fact that is not known is null.
author: Roundhouse
"""

EXAMPLES = """
- name: Look for GPUs
  roundhouse_gpu_info:
  register: gpu_info
"""

RETURN = """
gpus:
  description: The NVIDIA GPUs on the PCI bus, with address, device_id and driver (null for none).
  type: list
  elements: dict
  returned: always
driver_version:
  description: The version of the loaded nvidia module, null when it is not loaded.
  type: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse import gpu


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, **gpu.facts())


if __name__ == "__main__":
    main()
