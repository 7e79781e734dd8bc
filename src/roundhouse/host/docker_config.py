"""The engine's daemon.json: merged, never replaced; checked by the engine; reloaded where a restart is not needed.

Whoever wrote a key keeps it. What a role wrote earlier is noted beside it in /etc/roundhouse, so that the
role can change or take away its own keys later, and no others.

daemon.json as it was before the roles: their keys go, an earlier value comes back, what others wrote since stays.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RoundhouseError
from ..util import files
from ..util.files import Change
from . import systemd

PATH = Path("/etc/docker/daemon.json")
NOTES = Path("/etc/roundhouse")
# A run that is killed after the file is in place and before the engine has read it leaves this; a boot,
# which starts the engine anyway, clears it.
PENDING = Path("/run/roundhouse-docker-pending")
# What `dockerd` reads again on SIGHUP (Docker's reference of dockerd, "Configuration reload behavior").
# features is in that list, and yet CDI is switched on at the start alone (moby, cmd/dockerd/daemon.go).
RELOADED = frozenset(
    {
        *("authorization-plugins", "debug", "default-runtime", "insecure-registries", "labels", "live-restore"),
        *("max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts", "registry-mirrors"),
        *("runtimes", "shutdown-timeout"),
    }
)
_NONE = object()

Config = dict[str, Any]
Key = tuple[str, ...]


class Merge(NamedTuple):
    """The file's text before and after, and the action that the engine needs: none, reload or restart."""

    before: str
    after: str
    action: str


def parse(text: str) -> Config:
    """Return the configuration. Raises RoundhouseError with the parser's own words."""
    if not text.strip():
        return {}
    try:
        content = json.loads(text)
    except ValueError as error:
        raise RoundhouseError("daemon.json", f"{PATH} is not JSON ({error}): mend it; nothing was changed.") from None
    if not isinstance(content, dict):
        raise RoundhouseError("daemon.json", f"{PATH} is no JSON object: mend it; nothing was changed.")
    return content


def merge(current: Config, noted: Config, wanted: Config, *, force: bool) -> Config:
    """Return `current` with the wanted keys, where nobody else has set them; with `force` in any case.

    `noted` is what the same role wrote last: what is still so is its own, to change or to take away.
    """
    result = json.loads(json.dumps(current))
    old, new = _leaves(noted), _leaves(wanted)
    # A log driver's options fit no other driver.
    driver = _get(current, ("log-driver",))
    if driver is not _NONE and driver not in (old.get(("log-driver",), _NONE), new.get(("log-driver",), _NONE)):
        new = {key: value for key, value in new.items() if key[0] not in ("log-driver", "log-opts")}
    for key, value in old.items():
        if key not in new and _get(current, key) == value:
            _remove(result, key)
    for key, value in new.items():
        there = _get(current, key)
        if force or there is _NONE or there == old.get(key, _NONE):
            _set(result, key, value)
    return dict(result)


def take_away(result: Config, current: Config, first: Config, noted: Config) -> None:
    """Set in `result` each noted key as it was in `first`, where `current` still has it as noted."""
    for key, value in _leaves(noted).items():
        if _get(current, key) != value or _get(result, key) is _NONE:
            continue
        there = _get(first, key)
        if there is _NONE:
            _remove(result, key)
        else:
            _set(result, key, there)


def action(before: Config, after: Config) -> str:
    """Return what lets the engine take up the change: none, reload or restart."""
    changed = {key for key in {*before, *after} if before.get(key, _NONE) != after.get(key, _NONE)}
    return "none" if not changed else "reload" if changed <= RELOADED else "restart"


def plan(owner: str, wanted: Config, *, force: bool) -> Merge:
    """Say what a role's keys would change. Raises RoundhouseError when the file is not valid."""
    text = PATH.read_text() if PATH.exists() else ""
    current, note = parse(text), NOTES / f"daemon.{owner}.json"
    merged = merge(current, json.loads(note.read_text()) if note.exists() else {}, wanted, force=force)
    needed = action(current, merged)
    return Merge(text, text if needed == "none" else json.dumps(merged, indent=2) + "\n", needed)


def apply(owner: str, wanted: Config, made: Merge) -> str:
    """Put the file in place and let a running engine take it up; return what was done: none, reload or restart."""
    pending = PENDING.read_text() if PENDING.exists() else "none"
    needed = max(pending, made.action, key=("none", "reload", "restart").index)
    if made.action != "none":
        _check(made.after)
        files.write(PENDING, needed)
        if made.before and not any(NOTES.glob("daemon.*.json")):
            files.write(PATH.with_suffix(".json.before-roundhouse"), made.before, _mode())
    # The note first: a key that is noted and not written is not taken for the role's own, as it is not there.
    files.apply({str(NOTES / f"daemon.{owner}.json"): json.dumps(wanted, indent=2) + "\n"})
    if made.action != "none":
        files.write(PATH, made.after, _mode())
    if needed != "none" and _run("systemctl", "is-active", "--quiet", "docker.service").returncode == 0:
        _let_it_read(needed)
    PENDING.unlink(missing_ok=True)
    return needed


def _mode() -> int:
    return PATH.stat().st_mode & 0o777 if PATH.exists() else 0o644


def _let_it_read(needed: str) -> None:
    # Before a restart too: live-restore keeps the containers over it only when the engine knows of it by then.
    for word in ("reload", "restart") if needed == "restart" else ("reload",):
        # docker.service may start three times a minute: the package's start and two roles' would use them up, and the
        # next restart, whoever's, would leave the host without an engine.
        systemd.forgive("docker.service")
        done = _run("systemctl", word, "docker.service")
        if done.returncode != 0:
            raise RoundhouseError("docker", f"systemctl {word} docker failed ({done.stderr.strip()}): see its journal.")


def _check(text: str) -> None:
    """Let the engine itself judge the file, where it can (23.0 and later)."""
    aside = PATH.with_suffix(".json.new")
    files.write(aside, text)
    try:
        done = _run("dockerd", "--validate", "--config-file", str(aside))
    finally:
        aside.unlink()
    if done.returncode != 0 and "unknown flag" not in done.stderr:
        said = done.stderr.strip().splitlines()
        raise RoundhouseError(
            "daemon.json",
            f"the engine refuses what would become {PATH}, and nothing was changed: {said[-1] if said else 'no word'}",
        )


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _leaves(config: Config, above: Key = ()) -> dict[Key, Any]:
    found: dict[Key, Any] = {}
    for name, value in config.items():
        found |= _leaves(value, (*above, name)) if isinstance(value, dict) and value else {(*above, name): value}
    return found


def _get(config: Config, key: Key) -> Any:
    at: Any = config
    for name in key:
        if not isinstance(at, dict) or name not in at:
            return _NONE
        at = at[name]
    return at


def _set(config: Config, key: Key, value: Any) -> None:
    for name in key[:-1]:
        if not isinstance(config.get(name), dict):
            config[name] = {}
        config = config[name]
    config[key[-1]] = value


def _remove(config: Config, key: Key) -> None:
    holders = [config]
    for name in key[:-1]:
        holders.append(holders[-1][name])
    for name, holder in zip(reversed(key), reversed(holders), strict=True):
        del holder[name]
        if holder:  # a mapping that is empty now was the role's own too
            break


BEFORE = PATH.with_suffix(".json.before-roundhouse")


def restored() -> Change | None:
    """Return the change of the file, None where no role wrote to it; its `after` is empty where it was not there."""
    notes = sorted(NOTES.glob("daemon.*.json"))
    if not notes or not PATH.exists():
        return None
    text, first = PATH.read_text(), BEFORE.read_text() if BEFORE.exists() else ""
    result = without(parse(text), parse(first), [json.loads(n.read_text()) for n in notes])
    # The very bytes, when the meaning is the same.
    after = first if result == parse(first) else json.dumps(result, indent=2) + "\n"
    return Change(str(PATH), text, after)


def without(current: Config, first: Config, notes: list[Config]) -> Config:
    """Return `current` with the noted keys as they were in `first`, where they are still as noted."""
    result = dict(json.loads(json.dumps(current)))
    for noted in notes:
        take_away(result, current, first, noted)
    return result


def put(change: Change) -> None:
    """Put the file in place. A running engine reads it at its next start.

    It is not restarted: without live-restore, which may be one of the keys that go, that would end its containers.
    """
    path = Path(change.path)
    if change.after:
        files.write(path, change.after, path.stat().st_mode & 0o777)
    else:
        path.unlink()
