"""Ansible module: what models' names mean now. A shim over roundhouse.provision.pull_module."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_resolve
short_description: Resolve models' branches to revisions and lists of files
description:
  - Runs with the Python of the engine's environment, which has the hub's client. Asks the source; changes nothing.
    The action of the same name waits for it and reports its progress, because a slow hub takes minutes.
options:
  required_models:
    description: The models, each with model and asked (a branch, a tag or a revision).
    type: list
    elements: dict
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
  progress_path:
    description: The file in which progress stands as JSON lines while it runs.
    type: path
author: Roundhouse
"""

EXAMPLES = """
- name: Resolve the branch main
  roundhouse_resolve:
    required_models: [{model: Qwen/Qwen2.5-0.5B-Instruct, asked: main}]
  async: 3600
  poll: 0
"""

RETURN = """
found:
  description: Entries of the lock file, by owner/name@asked.
  type: dict
  returned: success
code:
  description: The error's code; C(remedy) and C(fields) belong to it.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.provision import pull_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={**pull_module.ARGUMENTS, "progress_path": {"type": "path"}}, supports_check_mode=True
    )
    pull_module.run(module, pull_module.resolve)


if __name__ == "__main__":
    main()
