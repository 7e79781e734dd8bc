"""Ansible module: what a host lacks. A shim over scripts/roundhouse/preflight.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_preflight
short_description: Find what a host lacks before anything is changed
description:
  - Reads the system, the cards and who uses them, the disk, the ports and the packages of others; changes nothing.
options:
  agents:
    description: The agents of the plan.
    type: list
    elements: dict
    required: true
  wishes:
    description: The hub's models, each with model, revision and files (from the lock, or null).
    type: list
    elements: dict
    required: true
  accelerator:
    description: What the engine runs on.
    type: str
    choices: [cuda, cpu]
    required: true
  engine_path:
    description: Where the engine's environment will be.
    type: path
    required: true
  engine_python:
    description: The Python of the engine's environment, by the name that the host's PATH has.
    type: str
    required: true
  quantise_path:
    description: Where the environment of quantising will be, where an agent asks for it.
    type: path
    required: true
  models_store:
    description: Where pulled models will be.
    type: path
    required: true
  gateway_port:
    description: The gateway's port of all agents; none without a gateway.
    type: int
  image:
    description: The image that has the engine; none where the engine is an environment of the host's.
    type: str
author: Roundhouse
"""

EXAMPLES = """
- name: Look at the host
  roundhouse_preflight:
    agents: "{{ plan.agents }}"
    wishes: "{{ plan.agents | roundhouse_wishes(models_lock) }}"
    accelerator: cuda
    engine_path: /opt/roundhouse/engine/0.32.0
    engine_python: python3
    quantise_path: /opt/roundhouse/quantise/0.14
    models_store: /var/lib/roundhouse/models
"""

RETURN = """
findings:
  description: One sentence for each thing to mend first.
  type: list
  elements: str
  returned: always
table:
  description: Everything that was looked at, a line each, with the findings and what a person should know below.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse import preflight

try:
    from ansible.module_utils import pynvml
except ImportError:  # a controller that was not made by `make setup`: then the host's own, if it has one
    pynvml = None


def main() -> None:
    argument_spec = {
        "agents": {"type": "list", "elements": "dict", "required": True},
        "wishes": {"type": "list", "elements": "dict", "required": True},
        "accelerator": {"type": "str", "choices": ["cuda", "cpu"], "required": True},
        "engine_path": {"type": "path", "required": True},
        "engine_python": {"type": "str", "required": True},
        "quantise_path": {"type": "path", "required": True},
        "models_store": {"type": "path", "required": True},
        "gateway_port": {"type": "int"},
        "image": {"type": "str"},
    }
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    rows = preflight.look(preflight.Wanted(**module.params), pynvml)
    module.exit_json(changed=False, findings=preflight.problems(rows), table=preflight.table(rows))


if __name__ == "__main__":
    main()
