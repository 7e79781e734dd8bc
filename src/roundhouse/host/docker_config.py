"""Merge keys into Docker's daemon.json: validated by the engine, and reloaded if no restart is needed.

Keys of other programs are kept. Each role records the keys it wrote in /etc/roundhouse, so that it can change or remove
exactly these later. A restore removes the keys of all roles: it restores earlier values and keeps later changes of
other programs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError
from ..util import files, process
from ..util.files import Change
from . import systemctl

PATH = Path("/etc/docker/daemon.json")
BEFORE = PATH.with_suffix(".json.before-roundhouse")
NOTES = Path("/etc/roundhouse")
# Names the pending action if a run is killed after it wrote the file and before the engine read it.
# A boot clears it, because a boot starts the engine.
PENDING = Path("/run/roundhouse-docker-pending")
# The keys that `dockerd` reloads on SIGHUP (Docker's reference of dockerd, "Configuration reload behavior").
# That list also has features, but dockerd enables CDI only at its start (moby, cmd/dockerd/daemon.go).
RELOADED = frozenset(
    {
        "authorization-plugins",
        "debug",
        "default-runtime",
        "insecure-registries",
        "labels",
        "live-restore",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "registry-mirrors",
        "runtimes",
        "shutdown-timeout",
    }
)
_NONE = object()

Config = dict[str, object]
Key = tuple[str, ...]


class Merge(NamedTuple):
    """The file's text before and after, and the action that the engine needs: none, reload or restart.

    `noted` are the role's keys: those that it sets now or has set before. A key that had the wanted value already is
    not the role's, so a teardown keeps it.
    """

    before: str
    after: str
    action: str
    noted: Config


def parse(text: str) -> Config:
    """Return the configuration. Raises RoundhouseError with the parser's message."""
    try:
        content = json.loads(text) if text.strip() else {}
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise RoundhouseError(
            "daemon_json_invalid",
            "{path} is not valid JSON ({problem}); nothing was changed.",
            "Correct the file.",
            path=str(PATH),
            problem=str(error),
        ) from None
    return content


def merge(current: Config, noted: Config, wanted: Config, *, force: bool) -> Config:
    """Return `current` with the wanted keys, except keys that another program set; with `force` those too.

    `noted` holds the keys that the same role wrote last. If a value is unchanged since, the role may change or remove
    it.
    """
    old, new = _leaves(noted), _leaves(wanted)
    driver = current.get("log-driver")
    if driver not in (None, noted.get("log-driver"), wanted.get("log-driver")):
        # The options of one log driver are invalid for another.
        new = {key: value for key, value in new.items() if key[0] not in ("log-driver", "log-opts")}
    kept = {key: value for key, value in _leaves(current).items() if key in new or old.get(key, _NONE) != value}
    own = {
        key: value
        for key, value in new.items()
        if force or (there := _get(current, key)) is _NONE or there == old.get(key, _NONE)
    }
    return _nested(kept | own)


def owned(current: Config, noted: Config, wanted: Config, merged: Config) -> Config:
    """Return the wanted keys that the role sets in `merged`, without those that another program has set alike."""
    old = _leaves(noted)
    return _nested(
        {
            key: value
            for key, value in _leaves(wanted).items()
            if _get(merged, key) == value and (_get(current, key) != value or old.get(key, _NONE) == value)
        }
    )


def without(current: Config, first: Config, notes: list[Config]) -> Config:
    """Return `current` with the noted keys reset to their values in `first`; keys that changed since are kept."""
    result = _leaves(current)
    for noted in map(_leaves, notes):
        for key, value in noted.items():
            if result.get(key, _NONE) != value:
                continue
            if (earlier := _get(first, key)) is _NONE:
                del result[key]
            else:
                result[key] = earlier
    return _nested(result)


def required_action(before: Config, after: Config) -> str:
    """Return the action that applies the change: none, reload or restart."""
    changed = {key for key in {*before, *after} if before.get(key, _NONE) != after.get(key, _NONE)}
    return "none" if not changed else "reload" if changed <= RELOADED else "restart"


def noted(owner: str) -> Config:
    """Return the keys that a role has written; {} if it has written none."""
    path = _note(owner)
    found: Config = json.loads(path.read_text()) if path.exists() else {}
    return found


def plan_merge(owner: str, wanted: Config, *, force: bool) -> Merge:
    """Return the change that a role's keys make to the file. Raises RoundhouseError if the file is invalid."""
    text = PATH.read_text() if PATH.exists() else ""
    current, before = parse(text), noted(owner)
    merged = merge(current, before, wanted, force=force)
    action = required_action(current, merged)
    after = text if action == "none" else _text(merged)
    return Merge(text, after, action, owned(current, before, wanted, merged))


def require_restart(planned: Merge, strangers: list[str], *, live_restore: bool) -> None:
    """Raise RoundhouseError if the change needs a restart of Docker that stops containers of others."""
    if planned.action != "restart" or not strangers:
        return
    # A restart is preceded by a reload, with which the engine reads live-restore of the new file.
    if parse(planned.after).get("live-restore", live_restore):
        return
    changed = [key for key in parse(planned.after) if parse(planned.before).get(key) != parse(planned.after)[key]]
    raise RoundhouseError(
        "docker_restart_refused",
        "{keys} in {path} needs a restart of Docker, which would stop {containers}; nothing was changed.",
        "Stop these containers and run the playbook again, or write the key and restart Docker yourself.",
        keys=" and ".join(changed) or "A removed key",
        path=str(PATH),
        containers=", ".join(strangers),
    )


def apply_merge(owner: str, planned: Merge) -> str:
    """Write the file and apply it to a running engine; return the action: none, reload or restart."""
    pending = PENDING.read_text() if PENDING.exists() else "none"
    action = max(pending, planned.action, key=("none", "reload", "restart").index)
    if planned.action != "none":
        _validate(planned.after)
        files.write(PENDING, action)
        if planned.before and not any(NOTES.glob("daemon.*.json")):
            files.write(BEFORE, planned.before, _mode())
    # The note is written first: if the run is killed here, a noted key that is missing in the file does no harm.
    path = _note(owner)
    if (planned.noted or path.exists()) and files.changes({path: _text(planned.noted)}):
        files.write(path, _text(planned.noted))
    if planned.action != "none":
        files.write(PATH, planned.after, _mode())
    if action != "none" and systemctl.is_active("docker.service"):
        # A restart is preceded by a reload: live-restore keeps the containers only if the engine has read it before.
        for verb in ("reload", "restart") if action == "restart" else ("reload",):
            # systemd allows docker.service three starts per minute. The package and two roles use all three, and the
            # next restart would leave the host without an engine.
            systemctl.call("reset-failed", "docker.service")
            systemctl.call(verb, "docker.service")
    PENDING.unlink(missing_ok=True)
    return action


def plan_restore() -> Change | None:
    """Return the change that restores the file, None if no role wrote to it; `after` is empty if it did not exist."""
    notes = sorted(NOTES.glob("daemon.*.json"))
    if not notes or not PATH.exists():
        return None
    text, first = PATH.read_text(), BEFORE.read_text() if BEFORE.exists() else ""
    result = without(parse(text), parse(first), [json.loads(note.read_text()) for note in notes])
    # The original bytes, if the content is equal.
    return Change(str(PATH), text, first if result == parse(first) else _text(result))


def restore(change: Change) -> None:
    """Write the file. A running engine reads it at its next start.

    The engine is not restarted: without live-restore, which may be one of the removed keys, that would stop its
    containers.
    """
    path = Path(change.path)
    if change.after:
        files.write(path, change.after, path.stat().st_mode & 0o777)
    else:
        path.unlink()


def _note(owner: str) -> Path:
    return NOTES / f"daemon.{owner}.json"


def _text(config: Config) -> str:
    return json.dumps(config, indent=2) + "\n"


def _mode() -> int:
    return PATH.stat().st_mode & 0o777 if PATH.exists() else 0o644


def _validate(text: str) -> None:
    """Validate the file with dockerd (23.0 and later). Raises RoundhouseError."""
    candidate = PATH.with_suffix(".json.new")
    files.write(candidate, text)
    try:
        done = process.run(["dockerd", "--validate", "--config-file", candidate])
    finally:
        candidate.unlink()
    if done.returncode != 0 and "unknown flag" not in done.stderr:
        raise RoundhouseError(
            "daemon_json_refused",
            "Docker refuses the new {path}; nothing was changed: {output}.",
            "Correct the key that Docker names in that file, or in the role's settings.",
            path=str(PATH),
            output=done.stderr.strip().rpartition("\n")[2].rstrip(".") or "no output",
        )


def _leaves(config: Config, above: Key = ()) -> dict[Key, object]:
    found: dict[Key, object] = {}
    for name, value in config.items():
        found |= _leaves(value, (*above, name)) if isinstance(value, dict) and value else {(*above, name): value}
    return found


def _get(config: Config, key: Key) -> object:
    at: object = config
    for name in key:
        if not isinstance(at, dict) or name not in at:
            return _NONE
        at = at[name]
    return at


def _nested(leaves: dict[Key, object]) -> Config:
    result: Config = {}
    for key, value in leaves.items():
        at = result
        for name in key[:-1]:
            below = at.get(name)
            if not isinstance(below, dict):
                below = at[name] = {}
            at = below
        at[key[-1]] = value
    return result
