"""Ansible module: a repository of apt with a pinned key. A shim over scripts/roundhouse/apt_source.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_apt_source
short_description: A repository of apt whose key has a pinned fingerprint
description:
  - Fetches the key, compares its fingerprint, and puts source and key in place once apt has read the repository with
    them. A signature that cannot be verified is an error; apt alone would go on with its old index.
options:
  name:
    description: The name of the source and of its key.
    type: str
    required: true
  uri:
    description: The repository.
    type: str
    required: true
  suites:
    description: Its suite, or / for a flat one.
    type: str
    default: /
  components:
    description: Its components; none for a flat one.
    type: str
    default: ""
  key_url:
    description: Where its key is.
    type: str
    required: true
  fingerprint:
    description: The fingerprint that the key must have.
    type: str
    required: true
  refresh:
    description: Read the repository again, also when the source is as it should be.
    type: bool
    default: false
author: Roundhouse
"""

EXAMPLES = """
- name: Add NVIDIA's repository
  roundhouse_apt_source:
    name: roundhouse-nvidia
    uri: https://repo.example/debian13/x86_64/
    key_url: https://repo.example/debian13/x86_64/8793F200.pub
    fingerprint: 02182E60104FCDC26EAE1B8597A5D4CB8793F200
"""

RETURN = """
path:
  description: The file of the source.
  type: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse import apt_source
from ansible.module_utils.roundhouse.errors import RoundhouseError


def key_of(source: apt_source.Source, url: str, fingerprint: str) -> str:
    """Return the pinned key: the one that is in place, else the one at the URL."""
    if source.key_path.exists():
        there = source.key_path.read_bytes()
        try:
            apt_source.require_key(there, fingerprint, str(source.key_path))
        except RoundhouseError:
            pass  # another pin than last time: fetch the key that it is of
        else:
            return there.decode()
    # Here, because it takes longer to import than all the rest, and a key that is in place is not fetched.
    from ansible.module_utils.urls import open_url

    try:
        content = open_url(url, timeout=60).read()
    except OSError as error:
        raise RoundhouseError("key", f"{url} cannot be fetched ({error}): nothing was changed.") from None
    apt_source.require_key(content, fingerprint, url)
    return content.decode()


def main() -> None:
    argument_spec = {
        "name": {"type": "str", "required": True},
        "uri": {"type": "str", "required": True},
        "suites": {"type": "str", "default": "/"},
        "components": {"type": "str", "default": ""},
        "key_url": {"type": "str", "required": True, "no_log": False},
        "fingerprint": {"type": "str", "required": True},
        "refresh": {"type": "bool", "default": False},
    }
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    given = module.params
    source = apt_source.Source(given["name"], given["uri"], given["suites"], given["components"])
    try:
        if others := apt_source.others(source):
            raise RoundhouseError(
                "source",
                f"{', '.join(others)} names {source.uri} already, and this role did not write it: apt refuses two "
                "sources of one place with different keys. Remove that file, or leave this part to it (see the role's "
                "setting of the source).",
            )
        key = key_of(source, given["key_url"], given["fingerprint"])
        wanted = {str(source.key_path): key, str(source.path): source.text()}
        changes = apt_source.files.changes(wanted)
        if changes and not module.check_mode:
            apt_source.put(source, key)
        elif given["refresh"] and not module.check_mode:
            apt_source.read(source)
    except RoundhouseError as error:
        module.fail_json(msg=error.message)
    diff = [{"before_header": c.path, "after_header": c.path, "before": c.before, "after": c.after} for c in changes]
    module.exit_json(changed=bool(changes), path=str(source.path), diff=diff)


if __name__ == "__main__":
    main()
