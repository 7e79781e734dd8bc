"""What the roles of a GPU host write on it through the module roundhouse_host_files; with `check` nothing is written.

Each function imports its own parts alone: what travels in an Ansible module is compiled at each of its runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..util import files

Arguments = dict[str, Any]  # as the module's argument_spec accepts them
Done = dict[str, object]  # what the module returns


def put_tree(wanted: Arguments, *, check: bool) -> Done:
    """Bring folders, files and links to the wanted state, and return the services' state after that."""
    from ..host import services
    from . import file_tree

    changes = file_tree.apply(
        file_tree.Wanted(**{name: wanted[name] for name in file_tree.Wanted._fields}), check=check
    )
    done: Done = {"changed": bool(changes), "paths": [change.path for change in changes], "diff": _diff(changes)}
    return done | services.inspect(wanted["services"]) if wanted["services"] else done


def put_apt_source(wanted: Arguments, *, check: bool) -> Done:
    """Install a repository of apt with its key."""
    from ..host import apt

    source = apt.Source(**{name: wanted[name] for name in apt.Source._fields})
    apt.require_only_source(source)
    key = apt.read_or_fetch_key(source, wanted["key_url"], wanted["fingerprint"])
    changes = files.changes({source.key_path: key, source.path: source.text()})
    if changes and not check:
        apt.install(source, key)
    elif wanted["refresh"] and not check:
        apt.update(source)
    return {"changed": bool(changes), "path": str(source.path), "diff": _diff(changes)}


def merge_docker_daemon(wanted: Arguments, *, check: bool) -> Done:
    """Merge a role's keys into daemon.json."""
    from ..host import docker_config

    owner, config, path = wanted["owner"], wanted["config"], str(docker_config.PATH)
    planned = docker_config.plan_merge(owner, config, force=wanted["force"])
    action = planned.action if check else docker_config.apply_merge(owner, config, planned)
    change = files.Change(path, planned.before, planned.after)
    return {"changed": action != "none", "action": action, "diff": _diff([change])}


def write_receipt(wanted: Arguments, *, check: bool) -> Done:
    """Record which packages an installation will bring, and which are going to be held back."""
    from ..host import receipt

    installs = receipt.before_installing(wanted["install"], check=check) if wanted["install"] else False
    holds = receipt.before_holding(wanted["hold"], check=check) if wanted["hold"] else False
    return {"changed": installs or holds}


def restore_docker_daemon(wanted: Arguments, *, check: bool) -> Done:
    """Restore daemon.json to what it was before the roles."""
    from ..host import docker_config

    change = docker_config.plan_restore()
    if change is None or change.before == change.after:
        return {"changed": False}
    if not check:
        docker_config.restore(change)
    return {"changed": True, "diff": _diff([change])}


WRITES: dict[str, Callable[..., Done]] = {
    "tree": put_tree,
    "apt_source": put_apt_source,
    "docker_daemon": merge_docker_daemon,
    "receipt": write_receipt,
    "docker_restore": restore_docker_daemon,
}


def _diff(changes: list[files.Change]) -> list[dict[str, str]]:
    """Return the changes as Ansible shows them with --diff."""
    return [{"before_header": c.path, "after_header": c.path, "before": c.before, "after": c.after} for c in changes]
