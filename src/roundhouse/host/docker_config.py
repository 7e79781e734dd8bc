"""Docker's daemon.json: merged, never replaced; checked by the engine; reloaded where a restart is not needed.

A key that somebody else wrote stays. What a role wrote is noted in /etc/roundhouse, so that the role can change or
remove its own keys later, and no others. A restore removes the keys of all roles: an earlier value comes back, and what
others wrote since stays.
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
# Names the action that is still due when a run is killed after the file is in place and before the engine has read it.
# A boot, which starts the engine anyway, clears it.
PENDING = Path("/run/roundhouse-docker-pending")
# What `dockerd` reads again on SIGHUP (Docker's reference of dockerd, "Configuration reload behavior").
# features is in that list, and yet CDI is switched on at the start alone (moby, cmd/dockerd/daemon.go).
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
    """The file's text before and after, and the action that the engine needs: none, reload or restart."""

    before: str
    after: str
    action: str


def parse(text: str) -> Config:
    """Return the configuration. Raises RoundhouseError with the parser's own words."""
    try:
        content = json.loads(text) if text.strip() else {}
        if not isinstance(content, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise RoundhouseError(
            "daemon_json_invalid",
            "{path} is not valid JSON ({problem}), and nothing was changed.",
            "Correct the file.",
            path=str(PATH),
            problem=str(error),
        ) from None
    return content


def merge(current: Config, noted: Config, wanted: Config, *, force: bool) -> Config:
    """Return `current` with the wanted keys, except those that another program set; with `force` those too.

    `noted` is what the same role wrote last: a value that is still the same is the role's own, to change or remove.
    """
    old, new = _leaves(noted), _leaves(wanted)
    driver = current.get("log-driver")
    if driver not in (None, noted.get("log-driver"), wanted.get("log-driver")):
        # A log driver's options fit no other driver.
        new = {key: value for key, value in new.items() if key[0] not in ("log-driver", "log-opts")}
    kept = {key: value for key, value in _leaves(current).items() if key in new or old.get(key, _NONE) != value}
    own = {
        key: value
        for key, value in new.items()
        if force or (there := _get(current, key)) is _NONE or there == old.get(key, _NONE)
    }
    return _nested(kept | own)


def without(current: Config, first: Config, notes: list[Config]) -> Config:
    """Return `current` with the noted keys as they were in `first`, where they are still as noted."""
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
    """Return what makes the engine use the change: none, reload or restart."""
    changed = {key for key in {*before, *after} if before.get(key, _NONE) != after.get(key, _NONE)}
    return "none" if not changed else "reload" if changed <= RELOADED else "restart"


def plan_merge(owner: str, wanted: Config, *, force: bool) -> Merge:
    """Return what a role's keys would change. Raises RoundhouseError when the file is not valid."""
    text = PATH.read_text() if PATH.exists() else ""
    current, note = parse(text), NOTES / f"daemon.{owner}.json"
    merged = merge(current, json.loads(note.read_text()) if note.exists() else {}, wanted, force=force)
    action = required_action(current, merged)
    return Merge(text, text if action == "none" else _text(merged), action)


def apply_merge(owner: str, wanted: Config, planned: Merge) -> str:
    """Put the file in place and let a running engine read it; return what was done: none, reload or restart."""
    pending = PENDING.read_text() if PENDING.exists() else "none"
    action = max(pending, planned.action, key=("none", "reload", "restart").index)
    if planned.action != "none":
        _validate(planned.after)
        files.write(PENDING, action)
        if planned.before and not any(NOTES.glob("daemon.*.json")):
            files.write(BEFORE, planned.before, _mode())
    # The note first: a key that is noted and not written is not taken for the role's own, as it is not there.
    note = NOTES / f"daemon.{owner}.json"
    if files.changes({note: _text(wanted)}):
        files.write(note, _text(wanted))
    if planned.action != "none":
        files.write(PATH, planned.after, _mode())
    if action != "none" and systemctl.is_active("docker.service"):
        # Before a restart too: live-restore keeps the containers over it only when the engine knows of it by then.
        for verb in ("reload", "restart") if action == "restart" else ("reload",):
            # docker.service may start three times a minute. The package's start and two roles' would use them up, and
            # the next restart would leave the host without an engine.
            systemctl.call("reset-failed", "docker.service")
            systemctl.call(verb, "docker.service")
    PENDING.unlink(missing_ok=True)
    return action


def plan_restore() -> Change | None:
    """Return the change of the file, None where no role wrote to it; its `after` is empty where it was not there."""
    notes = sorted(NOTES.glob("daemon.*.json"))
    if not notes or not PATH.exists():
        return None
    text, first = PATH.read_text(), BEFORE.read_text() if BEFORE.exists() else ""
    result = without(parse(text), parse(first), [json.loads(note.read_text()) for note in notes])
    # The very bytes, when the meaning is the same.
    return Change(str(PATH), text, first if result == parse(first) else _text(result))


def restore(change: Change) -> None:
    """Put the file in place. A running engine reads it at its next start.

    It is not restarted: without live-restore, which may be one of the removed keys, that would end its containers.
    """
    path = Path(change.path)
    if change.after:
        files.write(path, change.after, path.stat().st_mode & 0o777)
    else:
        path.unlink()


def _text(config: Config) -> str:
    return json.dumps(config, indent=2) + "\n"


def _mode() -> int:
    return PATH.stat().st_mode & 0o777 if PATH.exists() else 0o644


def _validate(text: str) -> None:
    """Let the engine itself judge the file, where it can (23.0 and later)."""
    candidate = PATH.with_suffix(".json.new")
    files.write(candidate, text)
    try:
        done = process.run(["dockerd", "--validate", "--config-file", candidate])
    finally:
        candidate.unlink()
    if done.returncode != 0 and "unknown flag" not in done.stderr:
        raise RoundhouseError(
            "daemon_json_refused",
            "Docker refuses the new {path}, and nothing was changed: {output}",
            path=str(PATH),
            output=done.stderr.strip().rpartition("\n")[2] or "no output",
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
