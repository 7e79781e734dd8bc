"""Write repositories of dnf and install packages from them, for the module roundhouse_host_files."""

from __future__ import annotations

from typing import Any

from ..host import dnf, dnf_repositories, proxy, receipt
from ..host.dnf_repositories import Repository
from ..util import files

Arguments = dict[str, Any]  # as the module's argument_spec accepts them


def put_repository(wanted: Arguments, *, check: bool) -> tuple[dict[str, object], list[files.Change]]:
    """Install a repository with its key, or adopt the enabled one of someone else with the same URL.

    The result's `enable` lists the repositories that an installation from it has to enable.
    """
    proxy.apply()
    repository = Repository(**{name: wanted[name] for name in Repository._fields})
    if adopted := dnf_repositories.existing(repository):
        own = [path for path in (repository.path, repository.key_path) if path.exists()]
        changes = [files.Change(str(path), path.read_text(errors="replace"), "") for path in own]
        if not check:
            for path in own:
                path.unlink()
            if own or wanted["refresh"]:
                dnf_repositories.update(repository, name=adopted[1])
        return {"changed": bool(own), "path": str(adopted[0]), "adopted": True, "enable": []}, changes
    key = dnf_repositories.read_or_fetch_key(repository, wanted["key_url"], wanted["fingerprint"])
    changes = files.changes({repository.key_path: key, repository.path: repository.text()})
    if not check:
        if changes:
            dnf_repositories.install(repository, key)
        elif wanted["refresh"]:
            dnf_repositories.update(repository)
        receipt.add_keys(dnf_repositories.import_key(repository, key))
    enable = [repository.name] if repository.held else []
    done = {"changed": bool(changes), "path": str(repository.path), "adopted": False, "enable": enable}
    return done, changes


def install_packages(wanted: Arguments, *, check: bool) -> dict[str, object]:
    """Read the index, enable a module stream and install packages, which the receipt records first."""
    names, repositories = wanted["install"], wanted["repositories"]
    if check:
        return {"changed": bool(names) or not dnf.has_stream(wanted["stream"])}
    proxy.apply()
    if wanted["index"]:
        dnf.require(dnf.run("makecache"), "read its repositories")
    changed = bool(wanted["stream"]) and dnf.enable_stream(wanted["stream"], repositories)
    if names:
        receipt.before_dnf(names, repositories)
        dnf.install(names, repositories, erase=wanted["erase"])
    return {"changed": changed or bool(names)}
