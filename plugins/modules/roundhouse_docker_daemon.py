"""Ansible module: a role's keys in Docker's daemon.json. A shim over scripts/roundhouse/docker_daemon.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_docker_daemon
short_description: Merge keys into Docker's daemon.json, and let the engine take them up
description:
  - Keys of others stay as they are. The engine checks the file before it is put in place, where it can; it is reloaded
    where that is enough, and restarted with live-restore known to it where not.
options:
  owner:
    description: Who writes the keys, so that it can change or take away its own later.
    type: str
    required: true
  config:
    description: The keys.
    type: dict
    required: true
  force:
    description: Set them also where somebody else has set another value.
    type: bool
    default: false
author: Roundhouse
"""

EXAMPLES = """
- name: Switch CDI on
  roundhouse_docker_daemon:
    owner: nvidia_container_toolkit
    config: {features: {cdi: true}}
    force: true
"""

RETURN = """
action:
  description: What the engine was told, or would be in check mode; none, reload or restart.
  type: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse import docker_daemon
from ansible.module_utils.roundhouse.errors import RoundhouseError


def main() -> None:
    argument_spec = {
        "owner": {"type": "str", "required": True},
        "config": {"type": "dict", "required": True},
        "force": {"type": "bool", "default": False},
    }
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    owner, config = module.params["owner"], module.params["config"]
    try:
        made = docker_daemon.plan(owner, config, force=module.params["force"])
        action = made.action if module.check_mode else docker_daemon.apply(owner, config, made)
    except RoundhouseError as error:
        module.fail_json(msg=error.message)
    path = str(docker_daemon.PATH)
    diff = {"before_header": path, "after_header": path, "before": made.before, "after": made.after}
    module.exit_json(changed=action != "none", action=action, diff=diff)


if __name__ == "__main__":
    main()
