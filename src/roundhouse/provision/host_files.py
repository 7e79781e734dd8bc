"""What the roles of a GPU host write on it, as the module roundhouse_host_files tells it; with `check` nothing is.

Each write imports its own parts alone: what travels in an Ansible module is compiled at each of its runs.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..util import files


class Write(Protocol):
    """Returns what the module returns: whether something changed, the difference, and a word of its own."""

    def __call__(self, wanted: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """Write what is wanted. Raises RoundhouseError when it is refused."""


def put_tree(wanted: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Bring folders, files and links to the wanted state, and tell how far the services are then."""
    from ..host import services
    from . import file_tree

    changes = file_tree.put(file_tree.Wanted(**{name: wanted[name] for name in file_tree.Wanted._fields}), check=check)
    done = {"changed": bool(changes), "paths": [change.path for change in changes], "diff": _diff(changes)}
    return done | services.look(wanted["services"]) if wanted["services"] else done


def put_apt_source(wanted: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Bring a repository of apt and its key in place."""
    from ..host import apt

    source = apt.Source(wanted["name"], wanted["uri"], wanted["suites"], wanted["components"])
    apt.refuse_others(source)
    key = apt.key_of(source, wanted["key_url"], wanted["fingerprint"])
    changes = files.changes({str(source.key_path): key, str(source.path): source.text()})
    if changes and not check:
        apt.put(source, key)
    elif wanted["refresh"] and not check:
        apt.read(source)
    return {"changed": bool(changes), "path": str(source.path), "diff": _diff(changes)}


def merge_docker_daemon(wanted: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Merge a role's keys into daemon.json."""
    from ..host import docker_config

    owner, config, path = wanted["owner"], wanted["config"], str(docker_config.PATH)
    made = docker_config.plan(owner, config, force=wanted["force"])
    action = made.action if check else docker_config.apply(owner, config, made)
    return {"changed": action != "none", "action": action, "diff": _diff([files.Change(path, made.before, made.after)])}


def write_receipt(wanted: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Note which packages an installation will bring, and which are going to be held back."""
    from ..host import receipt

    installs = receipt.before_installing(wanted["install"], check=check) if wanted["install"] else False
    holds = receipt.before_holding(wanted["hold"], check=check) if wanted["hold"] else False
    return {"changed": installs or holds}


def restore_docker_daemon(wanted: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Bring daemon.json back to what it was before the roles."""
    from ..host import docker_config

    found = docker_config.restored()
    if found is None or found.before == found.after:
        return {"changed": False}
    if not check:
        docker_config.put(found)
    return {"changed": True, "diff": _diff([found])}


WRITES: dict[str, Write] = {
    "tree": put_tree,
    "apt_source": put_apt_source,
    "docker_daemon": merge_docker_daemon,
    "receipt": write_receipt,
    "docker_restore": restore_docker_daemon,
}


def _diff(changes: list[files.Change]) -> list[dict[str, str]]:
    """Return the changes as Ansible shows them with --diff."""
    return [{"before_header": c.path, "after_header": c.path, "before": c.before, "after": c.after} for c in changes]
