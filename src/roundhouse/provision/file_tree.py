"""What a role writes at once: folders, links and files, with owner and mode; a file is checked before it is there."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RoundhouseError
from ..util import files as util_files
from ..util.files import Change

FILE_MODE, FOLDER_MODE = "0644", "0755"
_HIDDEN = "(the content is not shown)\n"


class Wanted(NamedTuple):
    """The wanted state, by path.

    `folders` have mode, owner and group, `links` their target. `files` are None (it shall not be there), a text, or a
    dict with content or copy_of (a file of the host), and mode, owner, group, secret (no diff) and validate (commands,
    %s is the new file). Below the folders of `only`, files, links and empty folders that are not wanted go.
    """

    folders: Mapping[str, Mapping[str, Any]]
    links: Mapping[str, str]
    files: Mapping[str, Any]
    only: Iterable[str]


def put(wanted: Wanted, *, check: bool) -> list[Change]:
    """Bring all of it to the wanted state, in this order, and return what differed; with `check` nothing is written."""
    return [change for step in _steps(wanted, check=check) for change in step]


def _steps(wanted: Wanted, *, check: bool) -> Iterator[list[Change]]:
    for name, settings in wanted.folders.items():
        yield _folder(Path(name), {"mode": FOLDER_MODE, **settings}, check=check)
    for name, target in wanted.links.items():
        yield _link(Path(name), target, check=check)
    for name, given in wanted.files.items():
        if given is None:
            yield _gone(Path(name), check=check)
        else:
            settings = {"content": given} if isinstance(given, str) else given
            yield _file(Path(name), {"mode": FILE_MODE, **settings}, check=check)
    for name in wanted.only:
        for path in _strangers(Path(name), {**wanted.files, **wanted.links}):
            yield _gone(path, check=check)
        if not check:
            _remove_empty(Path(name), wanted.folders)


def _folder(path: Path, settings: Mapping[str, Any], *, check: bool) -> list[Change]:
    there = path.is_dir()
    if not there and not check:
        util_files.make_folder(path)
    made = [] if there else [Change(str(path), "", "a folder\n")]
    return made + _kept(path, settings, check=check, there=there)


def _file(path: Path, settings: Mapping[str, Any], *, check: bool) -> list[Change]:
    wanted = _content(settings)
    before = path.read_text(errors="replace") if path.is_file() else None
    if before == wanted:
        return _kept(path, settings, check=check, there=True)
    if not check:
        _validate(path, wanted, settings.get("validate") or [])
        util_files.write(path, wanted, int(settings["mode"], 8), _ids(settings))
    if settings.get("secret"):
        return [Change(str(path), "" if before is None else _HIDDEN, _HIDDEN)]
    return [Change(str(path), before or "", wanted)]


def _content(settings: Mapping[str, Any]) -> str:
    if "copy_of" not in settings:
        return str(settings["content"])
    try:
        return Path(settings["copy_of"]).read_text()
    except OSError as error:
        raise RoundhouseError("files", f"{settings['copy_of']} cannot be read: {error.strerror}.") from None


def _validate(path: Path, content: str, commands: Iterable[str]) -> None:
    """Run the commands on the new content under the file's own name. Raises RoundhouseError with what they say."""
    commands = list(commands)
    if not commands:
        return
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / path.name
        new.write_text(content)
        for command in commands:
            words = [word.replace("%s", str(new)) for word in shlex.split(command)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                said = (done.stderr or done.stdout).strip().replace(str(new), str(path))
                raise RoundhouseError("files", f"{path} is as it was: `{command}` refuses the new one: {said}")


def _kept(path: Path, settings: Mapping[str, Any], *, check: bool, there: bool) -> list[Change]:
    """Bring mode and owner of what is there to what is wanted; check mode knows no account that is yet to come."""
    if check and not there:
        return []
    found, mode = path.stat(), int(settings["mode"], 8)
    changes = []
    if stat.S_IMODE(found.st_mode) != mode:
        changes.append(Change(str(path), f"mode {stat.S_IMODE(found.st_mode):04o}\n", f"mode {mode:04o}\n"))
        if not check:
            path.chmod(mode)
    ids = _ids(settings, check=check)
    if ids and any(want not in (-1, has) for want, has in zip(ids, (found.st_uid, found.st_gid), strict=True)):
        names = " ".join(filter(None, (settings.get("owner"), settings.get("group"))))
        changes.append(Change(str(path), f"owner {found.st_uid}:{found.st_gid}\n", f"owner {names}\n"))
        if not check:
            os.chown(path, *ids)
    return changes if there else []  # what was made just now is one change


def _ids(settings: Mapping[str, Any], *, check: bool = False) -> tuple[int, int] | None:
    """Return user and group for os.chown, None where neither is asked for. Raises RoundhouseError."""
    owner, group = settings.get("owner"), settings.get("group")
    try:
        user = pwd.getpwnam(owner).pw_uid if owner else -1
        return (user, grp.getgrnam(group).gr_gid if group else -1) if owner or group else None
    except KeyError as error:
        if check:  # the account comes before this is written
            return None
        raise RoundhouseError("files", f"This host has no account of that name: {error.args[0]}.") from None


def _gone(path: Path, *, check: bool) -> list[Change]:
    if not path.is_file() and not path.is_symlink():
        return []
    if path.is_symlink():
        before = f"a link to {path.readlink()}\n"
    else:
        # The difference never shows a file that only its owner may read.
        public = path.stat().st_mode & stat.S_IROTH
        before = path.read_text(errors="replace") if public else _HIDDEN
    if not check:
        path.unlink()
    return [Change(str(path), before, "")]


def _strangers(folder: Path, wanted: Mapping[str, Any]) -> list[Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    return [path for path in found if str(path) not in wanted]


def _remove_empty(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Remove the folders below that nothing is left in, the deepest first."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink() and str(path) not in wanted and not any(path.iterdir()):
            path.rmdir()


def _link(path: Path, target: str, *, check: bool) -> list[Change]:
    """Point a link through a temporary one beside it, so that it is never absent."""
    before = str(path.readlink()) if path.is_symlink() else None
    if before == target:
        return []
    if path.exists() and not path.is_symlink():
        raise RoundhouseError("files", f"{path} is not a link, and not of the roles: move it away.")
    if not check:
        util_files.make_folder(path.parent)
        aside = path.with_name(f".{path.name}.new")
        aside.unlink(missing_ok=True)
        aside.symlink_to(target)
        aside.rename(path)
    return [Change(str(path), f"a link to {before}\n" if before else "", f"a link to {target}\n")]
