"""Ansible module: pull an image with Docker. A shim over roundhouse.provision.image_pull."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_image_pull
short_description: Pull an image with Docker, with progress, retries and a login that no file contains
description:
  - Asks Docker's engine through its socket. A failure of the network is retried with increasing waits, and the engine
    keeps complete layers. Run it with C(async) and C(poll=0); the action of the same name waits for it and reports its
    progress.
options:
  image:
    description: The image, with its tag or its digest. A digest that the host has already is not pulled.
    type: str
    required: true
  username:
    description: The user of the image's registry; without one the pull is anonymous.
    type: str
    default: ""
  password:
    description: The password or token of that user.
    type: str
    default: ""
  progress_path:
    description: The file in which progress stands as JSON lines while it runs.
    type: path
author: Roundhouse
"""

EXAMPLES = """
- name: Pull the engine's image
  roundhouse_image_pull:
    image: vllm/vllm-openai:v0.32.0
  async: 7200
  poll: 0
"""

RETURN = """
code:
  description: The error's code; C(remedy) and C(fields) belong to it.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.provision import image_pull


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "image": {"type": "str", "required": True},
            "username": {"type": "str", "default": ""},
            "password": {"type": "str", "default": "", "no_log": True},
            "progress_path": {"type": "path"},
        }
    )
    image_pull.run(module)


if __name__ == "__main__":
    main()
