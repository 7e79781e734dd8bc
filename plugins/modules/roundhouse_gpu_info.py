"""Ansible module: the host's NVIDIA GPUs. A shim over host/gpu.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_gpu_info
short_description: Tell which NVIDIA GPUs a host has, also without a driver
description:
  - Reads sysfs, and asks NVML where a driver is loaded; changes nothing. A fact that is not known is null.
  - The controller's nvidia-ml-py travels with the module where ansible.cfg's module_utils has it.
author: Roundhouse
"""

EXAMPLES = """
- name: Look for GPUs
  roundhouse_gpu_info:
  register: gpu_info
"""

RETURN = """
gpus:
  description: >-
    The GPUs in PCI order, with address, device_id, driver (the kernel's, null for none), architecture,
    compute_capability ([12, 0]), name, uuid, memory_gib, used_gib, display_active, mig, processes (pid, name, gib,
    kinds, unit), number (as in nvidia-smi, null for a card that no driver of NVIDIA binds), error (of a card that does
    not answer) and unified (it uses the host's memory).
  type: list
  elements: dict
  returned: always
driver_version:
  description: The version of the loaded nvidia module, null when it is not loaded.
  type: str
  returned: always
nvml:
  description: How NVML answered, driver_version of the user space, and error, NVML's code, null for none.
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.host import gpu

try:
    from ansible.module_utils import pynvml
except ImportError:  # a controller that was not made by `make setup`: then the host's own, if it has one
    pynvml = None


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, **gpu.facts(answer=gpu.read(pynvml)))


if __name__ == "__main__":
    main()
