"""Ansible module: are the models complete? Over provision/model_state.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_model_info
short_description: Tell whether models are complete
description:
  - Compares lengths and times of change with what was noted when the files were hashed, and of folders of the
    roster's own each file's length with what its header promises; reads no weights and changes nothing.
options:
  folders:
    description: The roster's own folders.
    type: list
    elements: path
    required: true
  store:
    description: The folder that pulled models are put in.
    type: path
    required: true
  required_models:
    description: The hub's models, each with model, revision, asked and files (from the lock, or null).
    type: list
    elements: dict
    required: true
  quantizations:
    description: The results of recipes that the plan names, each with model, revision, recipe and path.
    type: list
    elements: dict
    required: true
author: Roundhouse
"""

EXAMPLES = """
- name: Check the models
  roundhouse_model_info:
    folders: [/srv/models/own]
    store: /var/lib/roundhouse/models
    required_models: []
    quantizations: []
"""

RETURN = """
to_pull:
  description: The models that are not in the store as they were verified.
  type: list
  elements: dict
  returned: always
to_quantize:
  description: The results that are not in the store as they were admitted.
  type: list
  elements: dict
  returned: always
problems:
  description: One sentence for each folder of the roster's own that is absent or not complete.
  type: list
  elements: str
  returned: always
is_old_layout:
  description: Whether the store's folder of quantized models has the name of earlier versions (C(quantised)).
  type: bool
  returned: always
code:
  description: The error's code; C(remedy) and C(fields) belong to it.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.errors import RoundhouseError
from ansible.module_utils.roundhouse.provision import model_state


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "folders": {"type": "list", "elements": "path", "required": True},
            "store": {"type": "path", "required": True},
            "required_models": {"type": "list", "elements": "dict", "required": True},
            "quantizations": {"type": "list", "elements": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        seen = model_state.inspect(given["store"], given["folders"], given["required_models"], given["quantizations"])
    except RoundhouseError as error:
        module.fail_json(**error.as_result())
    module.exit_json(changed=False, **seen)


if __name__ == "__main__":
    main()
