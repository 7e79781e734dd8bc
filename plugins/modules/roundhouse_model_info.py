"""Ansible module: are the models' folders whole? A shim over scripts/roundhouse/weights.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_model_info
short_description: Tell whether models are whole
description:
  - Compares each file's length with what its header promises; reads no weights and changes nothing.
options:
  paths:
    description: The folders of the models.
    type: list
    elements: path
    required: true
  models:
    description: The roster's names of the same models, so that a sentence can say what to do.
    type: list
    elements: str
    required: true
author: Roundhouse
"""

EXAMPLES = """
- name: Look at the models
  roundhouse_model_info:
    paths: [/srv/models/own]
    models: [/srv/models/own]
"""

RETURN = """
absent:
  description: The folders that are not there.
  type: list
  elements: str
  returned: always
problems:
  description: One sentence for each folder that is there and not whole.
  type: list
  elements: str
  returned: always
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse import weights


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "required": True},
            "models": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    paths = [Path(path) for path in module.params["paths"]]
    module.exit_json(
        changed=False,
        absent=[str(path) for path in paths if not path.exists()],
        problems=[
            f"{found}: {weights.cure(model)}"
            for model, path in zip(module.params["models"], paths, strict=True)
            if path.exists() and (found := weights.problem(path))
        ],
    )


if __name__ == "__main__":
    main()
