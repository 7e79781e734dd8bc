"""Ansible module: pull models into the store. A shim over roundhouse.provision.pull_module."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_pull
short_description: Pull models into the store, complete or not at all
description:
  - Runs with the Python of the engine's environment, which has the hub's client. Fetches what is missing, several
    files at once, resumes after a killed run, compares every byte and renames. Run it with C(async) and
    C(poll=0); the action of the same name waits for it and reports its progress.
options:
  required_models:
    description: The models, each with model, revision, asked and files (from the lock, or null).
    type: list
    elements: dict
    required: true
  results:
    description: Results of recipes (model, revision, recipe and path) to take from the source, where it has them.
    type: list
    elements: dict
    default: []
  store:
    description: The folder that models are put in.
    type: path
    required: true
  source:
    description: A folder that C(roundhouse export) wrote, or a URL; the hub (HF_ENDPOINT) when empty.
    type: str
    default: ""
  token:
    description: The hub's token.
    type: str
    default: ""
  direct:
    description: Whether the source is another host of the inventory, which is reached without the host's proxy.
    type: bool
    default: false
  environment:
    description: Variables for the hub's client, such as HF_ENDPOINT or a proxy; not the token.
    type: json
    default: "{}"
  files_at_once:
    description: How many files are fetched at once.
    type: int
    default: 4
  progress_path:
    description: The file in which progress stands as JSON lines while it runs.
    type: path
author: Roundhouse
"""

EXAMPLES = """
- name: Pull a model
  roundhouse_pull:
    required_models: [{model: Qwen/Qwen2.5-0.5B-Instruct, revision: main, asked: main, files: null}]
    store: /var/lib/roundhouse/models
  async: 86400
  poll: 0
"""

RETURN = """
models:
  description: For each model its revision, path, whether it changed and which files were fetched.
  type: list
  elements: dict
  returned: success
code:
  description: The error's code; C(remedy) and C(fields) belong to it.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.provision import pull_module


def main() -> None:
    more = {
        "results": {"type": "list", "elements": "dict", "default": []},
        "store": {"type": "path", "required": True},
        "files_at_once": {"type": "int", "default": 4},
        "progress_path": {"type": "path"},
    }
    module = AnsibleModule(argument_spec={**pull_module.ARGUMENTS, **more})
    pull_module.run(module, pull_module.pull_models)


if __name__ == "__main__":
    main()
