"""Ansible module: what a role writes on a host. A shim over provision/host_files.py.

roundhouse_component_info explains why one module writes several things.
"""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_host_files
short_description: All files of a role, a repository of apt or dnf, packages, keys in daemon.json, or the receipt
description:
  - Writes one of these. Each file is whole or as it was, also when a run is killed.
  - The action of the same name prints templates and reads files on the controller first.
options:
  files:
    description:
      - By path the wanted content; null for a file that shall not be there; or a dict with content, template (with
        vars, on the controller), source (of the role's files, on the controller) or copy_of (on the host), and with
        mode (0644), owner, group, secret (no diff) and validate, commands for which %s is the new file.
      - They are written in this order, so that a command sees those before.
    type: dict
  folders:
    description: By path a dict with mode (0755), owner and group. They come before the files.
    type: dict
    default: {}
  links:
    description: By path the target. They come after the folders and before the files.
    type: dict
    default: {}
  only:
    description: Folders below which no other files stay than those that are wanted.
    type: list
    elements: path
    default: []
  services:
    description:
      - Services to tell the state of, afterwards. By name a dict with reads, the folder of a service's files, read_at,
        a file that it touches when it has read them, and ignores, patterns of names; or null.
    type: dict
    default: {}
  apt_source:
    description:
      - A repository of apt. Fetches its key, compares the fingerprint, and puts
        source and key in place once apt has read the repository with them. A signature that is not valid is an error.
      - A source of someone else that names the repository is used instead, and the own one is removed.
    type: dict
    suboptions:
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
  dnf_repository:
    description:
      - A repository of dnf. Fetches its key, compares the fingerprint, and puts file and key in place once dnf has read
        the repository with them.
      - An enabled repository of someone else with this URL is used instead, and the own one is removed.
    type: dict
    suboptions:
      name:
        description: The name of the repository and of its key.
        type: str
        required: true
      uri:
        description: The repository's URL.
        type: str
        required: true
      key_url:
        description: Where its key is.
        type: str
        required: true
      fingerprint:
        description: The fingerprint that the key must have.
        type: str
        required: true
      signed_packages:
        description: Whether the vendor signs the packages; rpm gets the key.
        type: bool
        default: true
      signed_metadata:
        description: Whether the vendor signs the repository's metadata.
        type: bool
        default: false
      held:
        description: Whether the repository is enabled only for this module, so that no upgrade comes from it.
        type: bool
        default: false
      refresh:
        description: Read the repository again, also when the file is as it should be.
        type: bool
        default: false
  dnf:
    description: Packages that dnf installs. The receipt records them first.
    type: dict
    suboptions:
      install:
        description: The packages, as arguments of dnf.
        type: list
        elements: str
        default: []
      repositories:
        description: Repositories that are enabled for this installation.
        type: list
        elements: str
        default: []
      stream:
        description: A stream of a module, MODULE:STREAM, that is enabled first.
        type: str
        default: ""
      erase:
        description: Whether conflicting packages may be removed.
        type: bool
        default: false
      index:
        description: Whether to read the index of each enabled repository first, so that an error states the reason.
        type: bool
        default: false
  docker_daemon:
    description:
      - Keys to merge into Docker's daemon.json; keys of others stay. The engine checks the file first, where it can; it
        is reloaded where that is enough, else restarted with live-restore known to it.
    type: dict
    suboptions:
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
  docker_proxy:
    description:
      - Gives Docker's engine the proxy of the role host_proxy, and restarts it if it runs with another one. Only an
        engine that the roles installed is changed.
    type: dict
    suboptions: {}
  docker_restore:
    description:
      - Takes the keys of all roles out of daemon.json again; what they replaced comes back, byte by byte where nobody
        else has changed the file since. The engine reads it at its next start.
    type: dict
    suboptions: {}
  receipt:
    description:
      - Notes what an installation is about to bring that is not there, for a teardown.
    type: dict
    suboptions:
      install:
        description: The packages that are going to be asked for.
        type: list
        elements: str
        default: []
      hold:
        description: The packages that are going to be held back from upgrades.
        type: list
        elements: str
        default: []
author: Roundhouse
"""

EXAMPLES = """
- name: Keep nouveau from loading
  roundhouse_host_files:
    files:
      /etc/modprobe.d/roundhouse-nouveau.conf: "blacklist nouveau\\n"

- name: Add NVIDIA's repository
  roundhouse_host_files:
    apt_source:
      name: roundhouse-nvidia
      uri: https://repo.example/debian13/x86_64/
      key_url: https://repo.example/debian13/x86_64/8793F200.pub
      fingerprint: 02182E60104FCDC26EAE1B8597A5D4CB8793F200

- name: Switch CDI on
  roundhouse_host_files:
    docker_daemon:
      owner: nvidia_container_toolkit
      config: {features: {cdi: true}}
      force: true
"""

RETURN = """
paths:
  description: What changed.
  type: list
  elements: str
  returned: when files were given
services:
  description: By name whether it is enabled, its state, and the files that it has not read yet (unread).
  type: dict
  returned: when services were given
stale:
  description: Units in systemd's memory whose files are newer.
  type: list
  elements: str
  returned: when services were given
path:
  description: The file of the source.
  type: str
  returned: when a source or a repository was given
adopted:
  description: Whether this is the file of someone else.
  type: bool
  returned: when a source or a repository was given
enable:
  description: The repositories that an installation from this one has to enable.
  type: list
  elements: str
  returned: when a repository was given
action:
  description: What the engine was told, or would be in check mode; none, reload or restart.
  type: str
  returned: when keys for daemon.json were given
sentence:
  description: Why the engine keeps its proxy; empty if it does not.
  type: str
  returned: when docker_proxy was given
code:
  description: The error's code; C(remedy) and C(fields) belong to it.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.errors import RoundhouseError
from ansible.module_utils.roundhouse.provision import host_files

APT_SOURCE = {
    "name": {"type": "str", "required": True},
    "uri": {"type": "str", "required": True},
    "suites": {"type": "str", "default": "/"},
    "components": {"type": "str", "default": ""},
    "key_url": {"type": "str", "required": True, "no_log": False},
    "fingerprint": {"type": "str", "required": True},
    "refresh": {"type": "bool", "default": False},
}
DNF_REPOSITORY = {
    "name": {"type": "str", "required": True},
    "uri": {"type": "str", "required": True},
    "key_url": {"type": "str", "required": True, "no_log": False},
    "fingerprint": {"type": "str", "required": True},
    "signed_packages": {"type": "bool", "default": True},
    "signed_metadata": {"type": "bool", "default": False},
    "held": {"type": "bool", "default": False},
    "refresh": {"type": "bool", "default": False},
}
DNF = {
    "install": {"type": "list", "elements": "str", "default": []},
    "repositories": {"type": "list", "elements": "str", "default": []},
    "stream": {"type": "str", "default": ""},
    "erase": {"type": "bool", "default": False},
    "index": {"type": "bool", "default": False},
}
DOCKER_DAEMON = {
    "owner": {"type": "str", "required": True},
    "config": {"type": "dict", "required": True},
    "force": {"type": "bool", "default": False},
}

RECEIPT = {
    "install": {"type": "list", "elements": "str", "default": []},
    "hold": {"type": "list", "elements": "str", "default": []},
}


TREE = {
    "files": {"type": "dict"},
    "folders": {"type": "dict", "default": {}},
    "links": {"type": "dict", "default": {}},
    "only": {"type": "list", "elements": "path", "default": []},
    "services": {"type": "dict", "default": {}},
}


def main() -> None:
    others = {
        "apt_source": {"type": "dict", "options": APT_SOURCE},
        "dnf_repository": {"type": "dict", "options": DNF_REPOSITORY},
        "dnf": {"type": "dict", "options": DNF},
        "docker_daemon": {"type": "dict", "options": DOCKER_DAEMON},
        "docker_proxy": {"type": "dict", "options": {}},
        "docker_restore": {"type": "dict", "options": {}},
        "receipt": {"type": "dict", "options": RECEIPT},
    }
    module = AnsibleModule(
        argument_spec={**TREE, **others},
        required_one_of=[("files", *others)],
        mutually_exclusive=[("files", *others)],
        supports_check_mode=True,
    )
    given = module.params
    name = next((name for name in others if given[name] is not None), "tree")
    wanted = {each: given[each] for each in TREE} if name == "tree" else given[name]
    try:
        done = host_files.WRITES[name](wanted, check=module.check_mode)
    except RoundhouseError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**done)


if __name__ == "__main__":
    main()
