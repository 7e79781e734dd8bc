"""Ansible module: find what a teardown removes from a host. A shim over provision/teardown.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_teardown_info
short_description: Find what a teardown removes from a host
description:
  - Finds the roles' files by their names and packages by the receipt; changes nothing.
options:
  models_store:
    description: The folder of the models.
    type: str
    required: true
  models:
    description: Whether to remove the models.
    type: bool
    required: true
  packages:
    description: Whether to remove the packages that the roles installed.
    type: bool
    required: true
author: Roundhouse
"""

EXAMPLES = """
- name: Inspect what Roundhouse installed
  roundhouse_teardown_info:
    models_store: /var/lib/roundhouse/models
    models: false
    packages: true
"""

RETURN = """
text:
  description: The things to remove and to keep, for a person, with the reasons.
  type: list
  elements: str
  returned: always
done_text:
  description: The same for the end, when they are removed.
  type: list
  elements: str
  returned: always
problems:
  description: A sentence for each obstacle.
  type: list
  elements: str
  returned: always
code:
  description: The error's code; C(remedy) and C(fields) belong to it.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.errors import RoundhouseError
from ansible.module_utils.roundhouse.provision import teardown


def main() -> None:
    argument_spec = {
        "models_store": {"type": "str", "required": True},
        "models": {"type": "bool", "required": True},
        "packages": {"type": "bool", "required": True},
    }
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    try:
        found = teardown.find(teardown.Settings(**module.params))
    except RoundhouseError as error:
        module.fail_json(**error.as_result())
    module.exit_json(changed=False, text=teardown.text(found), done_text=teardown.text(found, "removed"), **found)


if __name__ == "__main__":
    main()
