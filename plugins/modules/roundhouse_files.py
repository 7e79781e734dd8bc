"""Ansible module: several small files at once. A shim over scripts/roundhouse/files.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_files
short_description: Several small text files in one task
description:
  - Each file is written through a temporary one, with mode 0644. One task where a loop would cost a connection each.
options:
  files:
    description: The wanted content by path; null for a file that shall not be there.
    type: dict
    required: true
author: Roundhouse
"""

EXAMPLES = """
- name: Keep nouveau from loading
  roundhouse_files:
    files:
      /etc/modprobe.d/roundhouse-nouveau.conf: "blacklist nouveau\\n"
"""

RETURN = """
paths:
  description: The files that changed.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse import files


def main() -> None:
    module = AnsibleModule(argument_spec={"files": {"type": "dict", "required": True}}, supports_check_mode=True)
    changes = files.changes(module.params["files"])
    if not module.check_mode:
        files.apply(module.params["files"])
    diff = [{"before_header": c.path, "after_header": c.path, "before": c.before, "after": c.after} for c in changes]
    module.exit_json(changed=bool(changes), paths=[c.path for c in changes], diff=diff)


if __name__ == "__main__":
    main()
