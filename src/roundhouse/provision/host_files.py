"""Write the files of the roles of a GPU host, for the module roundhouse_host_files; `check` writes nothing.

Each function imports only what it needs, because Ansible compiles a module's imports at each run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..util import files

Arguments = dict[str, Any]  # as the module's argument_spec accepts them
Done = dict[str, object]  # the module's result


def put_tree(wanted: Arguments, *, check: bool) -> Done:
    """Apply the wanted folders, files and links; return the changes and the services' state afterwards."""
    from ..host import services
    from . import file_tree

    changes = file_tree.apply(
        file_tree.Wanted(**{name: wanted[name] for name in file_tree.Wanted._fields}), check=check
    )
    done: Done = {"changed": bool(changes), "paths": [change.path for change in changes], "diff": _diff(changes)}
    return done | services.inspect(wanted["services"]) if wanted["services"] else done


def put_apt_source(wanted: Arguments, *, check: bool) -> Done:
    """Install an apt repository with its key, or adopt the source of someone else that already names it."""
    from ..host import apt, proxy

    proxy.apply()
    source = apt.Source(**{name: wanted[name] for name in apt.Source._fields})
    if adopted := apt.existing(source):
        own = [path for path in (source.path, source.key_path) if path.exists()]
        changes = [files.Change(str(path), path.read_text(errors="replace"), "") for path in own]
        if not check:
            for path in own:
                path.unlink()
            if own or wanted["refresh"]:
                apt.update(source, adopted)
        return {"changed": bool(own), "path": str(adopted), "adopted": True, "diff": _diff(changes)}
    key = apt.read_or_fetch_key(source, wanted["key_url"], wanted["fingerprint"])
    changes = files.changes({source.key_path: key, source.path: source.text()})
    if changes and not check:
        apt.install(source, key)
    elif wanted["refresh"] and not check:
        apt.update(source)
    return {"changed": bool(changes), "path": str(source.path), "adopted": False, "diff": _diff(changes)}


def put_dnf_repository(wanted: Arguments, *, check: bool) -> Done:
    """Install a repository of dnf with its key, or adopt the one of someone else."""
    from . import dnf_files

    done, changes = dnf_files.put_repository(wanted, check=check)
    return {**done, "diff": _diff(changes)}


def install_by_dnf(wanted: Arguments, *, check: bool) -> Done:
    """Enable a module stream and install packages by dnf."""
    from . import dnf_files

    return dnf_files.install_packages(wanted, check=check)


def merge_docker_daemon(wanted: Arguments, *, check: bool) -> Done:
    """Merge a role's keys into daemon.json."""
    from ..host import docker, docker_config

    owner, config, path = wanted["owner"], wanted["config"], str(docker_config.PATH)
    planned = docker_config.plan_merge(owner, config, force=wanted["force"])
    if planned.action == "restart":
        live_restore = bool(docker.info().get("LiveRestoreEnabled"))
        docker_config.require_restart(planned, docker.strangers(), live_restore=live_restore)
    action = planned.action if check else docker_config.apply_merge(owner, planned)
    change = files.Change(path, planned.before, planned.after)
    return {"changed": action != "none", "action": action, "diff": _diff([change])}


def put_docker_proxy(wanted: Arguments, *, check: bool) -> Done:
    """Give Docker's engine the host's proxy."""
    from ..host import docker_proxy

    action, sentence = docker_proxy.apply(check=check)
    return {"changed": action != "none", "action": action, "sentence": sentence}


def write_receipt(wanted: Arguments, *, check: bool) -> Done:
    """Record the packages that an installation will add, and those that will be held."""
    from ..host import receipt

    installs = receipt.before_installing(wanted["install"], check=check) if wanted["install"] else False
    holds = receipt.before_holding(wanted["hold"], check=check) if wanted["hold"] else False
    return {"changed": installs or holds}


def restore_docker_daemon(wanted: Arguments, *, check: bool) -> Done:
    """Restore daemon.json to its content before the roles changed it."""
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
    "dnf_repository": put_dnf_repository,
    "dnf": install_by_dnf,
    "docker_daemon": merge_docker_daemon,
    "docker_proxy": put_docker_proxy,
    "receipt": write_receipt,
    "docker_restore": restore_docker_daemon,
}


def _diff(changes: list[files.Change]) -> list[dict[str, str]]:
    """Return the changes in Ansible's format for --diff."""
    return [{"before_header": c.path, "after_header": c.path, "before": c.before, "after": c.after} for c in changes]
