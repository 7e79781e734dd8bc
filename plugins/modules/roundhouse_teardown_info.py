"""Ansible module: what of a host is Roundhouse's. A shim over scripts/roundhouse/teardown.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_teardown_info
short_description: Tell what of a host goes with Roundhouse
description:
  - Looks for the roles' files by their names, and for packages by the receipt; changes nothing.
options:
  models_store:
    description: Where the models are.
    type: str
    required: true
  models:
    description: Whether the models go too.
    type: bool
    required: true
  packages:
    description: Whether the packages go that the roles have brought.
    type: bool
    required: true
author: Roundhouse
"""

EXAMPLES = """
- name: Look at what is Roundhouse's
  roundhouse_teardown_info:
    models_store: /var/lib/roundhouse/models
    models: false
    packages: true
"""

RETURN = """
text:
  description: What goes and what stays, for a person.
  type: list
  elements: str
  returned: always
problems:
  description: A sentence for each thing that is in the way.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.provision import teardown


def main() -> None:
    argument_spec = {
        "models_store": {"type": "str", "required": True},
        "models": {"type": "bool", "required": True},
        "packages": {"type": "bool", "required": True},
    }
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    found = teardown.look(module.params)
    module.exit_json(changed=False, text=teardown.text(found), **found)


if __name__ == "__main__":
    main()
