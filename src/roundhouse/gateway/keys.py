"""Create, list and revoke the keys of the gateway's API. Each has a name.

Only root can read the file of the keys. HAProxy gets their SHA-256 alone, as a map from hash to name, so the time of a
lookup reveals nothing about a key.
"""

from __future__ import annotations

import grp
import hashlib
import json
import re
import secrets
from pathlib import Path

from ..errors import RoundhouseError, UsageError, unreadable
from ..util import files, lock
from ..util.suggest import did_you_mean
from . import haproxy
from .config import FOLDER

SCHEMA = 1
PATH = Path(FOLDER) / "keys.json"
MAP = Path(FOLDER) / "keys.map"
GROUP = "roundhouse-gateway"
FIRST = "default"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


def load() -> dict[str, str]:
    """Return each key by its name; {} if there is none. Raises RoundhouseError."""
    try:
        kept = json.loads(PATH.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise unreadable("keys_unreadable", PATH, error, "Run this as root.") from None
    if not isinstance(kept, dict) or kept.get("schema") != SCHEMA:
        text, remedy = "{path} is not of schema {schema}.", "Deploy again with this version."
        raise RoundhouseError("keys_schema", text, remedy, path=str(PATH), schema=SCHEMA)
    return dict(kept["keys"])


def ensure() -> bool:
    """Create the first key if there is no file of keys, write HAProxy's map, and return whether anything changed.

    An empty file of keys stays empty, because its keys were revoked on purpose.
    """
    made = not PATH.exists()
    keys = {FIRST: _new()} if made else load()
    if made:
        _keep(keys)
    return _write_map(keys) or made


def add(name: str) -> str:
    """Create a key of that name and return it. Raises UsageError for a name that exists or is not valid."""
    if not _NAME.fullmatch(name):
        text, remedy = "{name!r} is not a valid name.", "Use lower-case letters, digits, dots, dashes and underscores."
        raise UsageError("key_name_invalid", text, remedy, name=name)
    load()  # an account without the right gets this error, not that of the lock
    with lock.exclusive(_folder() / "keys.lock"):
        keys = load()
        if name in keys:
            text, remedy = "A key named {name} exists.", "Revoke it first, or choose another name."
            raise UsageError("key_exists", text, remedy, name=name)
        key = _new()
        _keep(keys | {name: key})
        _write_map(keys | {name: key})
        _send(f"add map {MAP} {_hash(key)} {name}", "made", name)
    return key


def find(name: str) -> str:
    """Return the key of that name. Raises UsageError for an unknown name."""
    keys = load()
    if name not in keys:
        remedy = did_you_mean(name, keys, "Write one of {known}." if keys else "There is none yet.")
        raise UsageError("key_unknown", "No key is named {name!r}.", remedy, name=name, known=", ".join(keys))
    return keys[name]


def revoke(name: str) -> None:
    """Refuse that key from now on. Raises UsageError for an unknown name."""
    load()
    with lock.exclusive(_folder() / "keys.lock"):
        key, keys = find(name), load()
        del keys[name]
        _keep(keys)
        _write_map(keys)
        _send(f"del map {MAP} {_hash(key)}", "removed from the files", name)


def _folder() -> Path:
    if not PATH.parent.is_dir():
        text, remedy = "{path} does not exist.", "Deploy a gateway first, with site.yml."
        raise UsageError("gateway_not_deployed", text, remedy, path=str(PATH.parent))
    return PATH.parent


def _send(command: str, done: str, name: str) -> None:
    if problem := haproxy.send([command]):
        text = "The key {name} was {done}, but {problem}."
        remedy = "Reload the gateway: `systemctl reload roundhouse-gateway`."
        raise RoundhouseError("gateway_not_told", text, remedy, name=name, done=done, problem=problem)


def _new() -> str:
    return f"rh-{secrets.token_urlsafe(32)}"


def _hash(key: str) -> str:
    # In capitals, as HAProxy's converter `hex` writes it.
    return hashlib.sha256(key.encode()).hexdigest().upper()


def _keep(keys: dict[str, str]) -> None:
    files.write(PATH, json.dumps({"schema": SCHEMA, "keys": keys}, indent=1) + "\n", mode=0o600)


def _write_map(keys: dict[str, str]) -> bool:
    text = "".join(f"{_hash(key)} {name}\n" for name, key in sorted(keys.items()))
    if MAP.exists() and MAP.read_text() == text:
        return False
    files.write(MAP, text, 0o640, (0, grp.getgrnam(GROUP).gr_gid))
    return True
