"""Ansible module: share this host's store with other hosts. A shim over roundhouse.models.peer_server."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_share
short_description: Share a store of models with other hosts during a pull
description:
  - Started, it serves until it is stopped, so run it with C(async) and C(poll=0). Read only; every request must
    bring the token.
options:
  state:
    description: Whether the store is shared.
    type: str
    choices: [started, stopped]
    required: true
  store:
    description: The store.
    type: path
  port:
    description: The port to listen on.
    type: int
  token:
    description: What a request must bring.
    type: str
author: Roundhouse
"""

EXAMPLES = """
- name: Stop sharing
  roundhouse_share:
    state: stopped
"""

RETURN = """
code:
  description: The error's code; C(remedy) and C(fields) belong to it.
  type: str
  returned: failure
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.errors import RoundhouseError
from ansible.module_utils.roundhouse.models import peer_server


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "stopped"], "required": True},
            "store": {"type": "path"},
            "port": {"type": "int"},
            "token": {"type": "str", "no_log": True},
        },
        required_if=[("state", "started", ("store", "port", "token"))],
    )
    given = module.params
    try:
        if given["state"] == "stopped":
            peer_server.stop()
        else:
            peer_server.serve(Path(given["store"]), given["port"], given["token"])
    except RoundhouseError as error:
        module.fail_json(**error.as_result())
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
