"""Ansible module: offer this host's store to other hosts. A shim over scripts/roundhouse/offer.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_offer
short_description: Offer a store of models to other hosts for the time of a pull
description:
  - Started, it serves until it is withdrawn, so run it with C(async) and C(poll=0). Read only; every request must
    bring the token.
options:
  state:
    description: Whether the offer stands.
    type: str
    choices: [started, withdrawn]
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
- name: Take the offer back
  roundhouse_offer:
    state: withdrawn
"""

RETURN = ""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.errors import RoundhouseError
from ansible.module_utils.roundhouse.models import peer_server


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "withdrawn"], "required": True},
            "store": {"type": "path"},
            "port": {"type": "int"},
            "token": {"type": "str", "no_log": True},
        },
        required_if=[("state", "started", ("store", "port", "token"))],
    )
    given = module.params
    try:
        if given["state"] == "withdrawn":
            peer_server.withdraw()
        else:
            peer_server.stand(Path(given["store"]), given["port"], given["token"])
    except RoundhouseError as error:
        module.fail_json(msg=error.message)
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
