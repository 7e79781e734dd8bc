"""Ansible module: what a host's plan depends on. A shim over provision/plan_facts.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_plan_facts
short_description: Gather what the plan of a host depends on
description:
  - Reads sysfs, NVML, the models' own folders and what was deployed and measured; changes nothing.
options:
  agents:
    description: The roster, as it was written.
    type: list
    elements: raw
    required: true
  models_store:
    description: The folder of the pulled models.
    type: str
    required: true
author: Roundhouse
"""

EXAMPLES = """
- name: Look at what the plan depends on
  roundhouse_plan_facts:
    agents: "{{ agents }}"
    models_store: /var/lib/roundhouse/models
  register: preflight_facts
"""

RETURN = """
gpus:
  description: The GPUs in PCI order, as roundhouse_gpu_info returns them.
  type: list
  elements: dict
  returned: always
answer:
  description: What NVML said, with driver_version, error and gpus, as roundhouse_preflight takes it.
  type: dict
  returned: always
configs:
  description: The config.json of each folder that the roster names, by its path.
  type: dict
  returned: always
stamps:
  description: For each folder that is to be quantized what stands for its revision.
  type: dict
  returned: always
means:
  description: What the container engine offers, as far as it answers.
  type: dict
  returned: always
measured:
  description: What engines stated when they started on this host, the newest first.
  type: list
  elements: dict
  returned: always
disk:
  description: By folder, the bytes of its weights, and how many of them its disk gives in a second, null for not known.
  type: dict
  returned: always
starts:
  description: How long engines took on this host until they were ready.
  type: list
  elements: dict
  returned: always
deployed:
  description: The plan that is deployed, null for none.
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.provision import plan_facts

try:
    from ansible.module_utils import pynvml
except ImportError:  # a controller that was not made by `make setup`: then the host's own, if it has one
    pynvml = None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "agents": {"type": "list", "elements": "raw", "required": True},
            "models_store": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **plan_facts.gather(module.params["agents"], module.params["models_store"], pynvml))


if __name__ == "__main__":
    main()
