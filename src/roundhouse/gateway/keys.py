"""The keys of the gateway's API: named, made here, revoked one by one.

They stand in one file that root alone reads. HAProxy gets their SHA-256 alone, as a map from hash to name: to find a
hash in it tells nothing of a key, however long that takes.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import re
import secrets
from pathlib import Path

from ..errors import RoundhouseError, UsageError
from ..state import serving
from ..util import files
from . import haproxy
from .config import FOLDER

SCHEMA = 1
PATH = Path(FOLDER) / "keys.json"
MAP = Path(FOLDER) / "keys.map"
GROUP = "roundhouse-gateway"
FIRST = "default"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


def load() -> dict[str, str]:
    """Return each key by its name; {} where none was made. Raises RoundhouseError."""
    try:
        kept = json.loads(PATH.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RoundhouseError("keys", f"{PATH} cannot be read ({error}): run this as root.") from None
    if not isinstance(kept, dict) or kept.get("schema") != SCHEMA:
        raise RoundhouseError("keys", f"{PATH} is not of schema {SCHEMA}: deploy again with this version.")
    return dict(kept["keys"])


def ensure() -> bool:
    """Make the first key where no file of keys is there, write HAProxy's map, and return whether anything changed.

    An empty file of keys stays empty: whoever revoked all of them wants nobody in.
    """
    made = not PATH.exists()
    keys = {FIRST: _new()} if made else load()
    if made:
        _keep(keys)
    return _write_map(keys) or made


def add(name: str) -> str:
    """Make a key of that name and return it. Raises UsageError when the name is taken or cannot be one."""
    if not _NAME.fullmatch(name):
        raise UsageError("keys", f"{name!r} is no name of a key: write lower-case letters, digits, dots and dashes.")
    with serving.alone(_folder()):
        keys = load()
        if name in keys:
            raise UsageError("keys", f"{name} has a key already: revoke it first, or choose another name.")
        key = _new()
        _keep(keys | {name: key})
        _write_map(keys | {name: key})
        _tell(f"add map {MAP} {_hash(key)} {name}", f"the key of {name} is made")
    return key


def revoke(name: str) -> None:
    """Let nobody in with that key from now on. Raises UsageError for an unknown name."""
    with serving.alone(_folder()):
        keys = load()
        if name not in keys:
            raise UsageError("keys", f"{name!r} is no key: `roundhouse keys` lists {', '.join(keys) or 'none'}.")
        key = keys.pop(name)
        _keep(keys)
        _write_map(keys)
        _tell(f"del map {MAP} {_hash(key)}", f"the key of {name} is taken out of the files")


def _folder() -> Path:
    if not PATH.parent.is_dir():
        raise UsageError("keys", f"{PATH.parent} is not there: deploy a gateway first, with site.yml.")
    return PATH.parent


def _tell(command: str, done: str) -> None:
    if said := haproxy.tell([command]):
        raise RoundhouseError("keys", f"{done}, but {said}.")


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
    files.write(MAP, text, mode=0o640)
    os.chown(MAP, 0, grp.getgrnam(GROUP).gr_gid)
    return True
