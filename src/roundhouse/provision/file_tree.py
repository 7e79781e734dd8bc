"""Create the folders, links and files of a role, with owner and mode. Each file is validated before it is replaced."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict

from ..errors import RoundhouseError
from ..util import files, process
from ..util.files import Change
from ..util.pairs import pairs

FILE_MODE, FOLDER_MODE = "0644", "0755"
_HIDDEN = "(the content is not shown)\n"


class Access(TypedDict, total=False):
    """The mode and owner of a file or folder; without owner or group the current one is kept."""

    mode: str  # octal: 0640
    owner: str
    group: str


class File(Access, total=False):
    """A file, with `content` or `copy_of`."""

    content: str
    copy_of: str  # a file on the host
    secret: bool  # no diff
    validate: list[str]  # commands; %s is the new file


class Template(File, total=False):
    """A file whose `content` the action roundhouse_host_files makes from a template or a source file."""

    template: str  # in the role's templates
    vars: Mapping[str, object]  # the template's variables
    source: str  # in the role's files


class Wanted(NamedTuple):
    """The wanted state, by path."""

    folders: Mapping[str, Access]
    links: Mapping[str, str]  # their targets
    files: Mapping[str, File | str | None]  # a string is the content, None removes the file
    only: Iterable[str]  # below these folders, unwanted files, links and empty folders are removed


def apply(wanted: Wanted, *, check: bool) -> list[Change]:
    """Apply folders, links, files and `only` in this order and return the changes; `check` writes nothing."""
    return [change for step in _steps(wanted, check=check) for change in step]


def _steps(wanted: Wanted, *, check: bool) -> Iterator[list[Change]]:
    for name, settings in wanted.folders.items():
        yield _folder(Path(name), {"mode": FOLDER_MODE, **settings}, check=check)
    for name, target in wanted.links.items():
        yield _link(Path(name), target, check=check)
    for name, given in wanted.files.items():
        if given is None:
            yield _remove(Path(name), check=check)
        else:
            file: File = {"content": given} if isinstance(given, str) else given
            yield _file(Path(name), {"mode": FILE_MODE, **file}, check=check)
    for name in wanted.only:
        for path in _unwanted(Path(name), {**wanted.files, **wanted.links}):
            yield _remove(path, check=check)
        if not check:
            _remove_empty(Path(name), wanted.folders)


def _folder(path: Path, settings: Access, *, check: bool) -> list[Change]:
    there = path.is_dir()
    if not there and not check:
        files.make_folder(path)
    made = [] if there else [Change(str(path), "", "a folder\n")]
    return made + _keep_mode_and_owner(path, settings, check=check, there=there)


def _file(path: Path, settings: File, *, check: bool) -> list[Change]:
    wanted = _content(settings)
    before = path.read_text(errors="replace") if path.is_file() else None
    if before == wanted:
        return _keep_mode_and_owner(path, settings, check=check, there=True)
    if not check:
        _validate(path, wanted, settings.get("validate") or [])
        files.write(path, wanted, int(settings["mode"], 8), _ids(settings))
    if settings.get("secret"):
        return [Change(str(path), "" if before is None else _HIDDEN, _HIDDEN)]
    return [Change(str(path), before or "", wanted)]


def _content(settings: File) -> str:
    if "copy_of" not in settings:
        return str(settings["content"])
    try:
        return Path(settings["copy_of"]).read_text()
    except OSError as error:
        raise RoundhouseError(
            "file_unreadable",
            "{path} cannot be read: {problem}.",
            "Correct the setting that names it, or make the file readable for root.",
            path=settings["copy_of"],
            problem=error.strerror,
        ) from None


def _validate(path: Path, content: str, commands: Iterable[str]) -> None:
    """Run the commands on the new content under the file's own name. Raises RoundhouseError with their output."""
    commands = list(commands)
    if not commands:
        return
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / path.name
        new.write_text(content)
        for command in commands:
            words = [word.replace("%s", str(new)) for word in shlex.split(command)]
            done = process.run(words)
            if done.returncode != 0:
                raise RoundhouseError(
                    "validation_failed",
                    "`{command}` refuses the new {path}, so the old file is kept: {output}.",
                    "Correct the setting that the output names, and deploy again.",
                    path=str(path),
                    command=command,
                    output=(done.stderr or done.stdout).strip().replace(str(new), str(path)).rstrip("."),
                )


def _keep_mode_and_owner(path: Path, settings: Access, *, check: bool, there: bool) -> list[Change]:
    """Set mode and owner and return the changes; in check mode the account may not exist yet."""
    if check and not there:
        return []
    found, mode = path.stat(), int(settings["mode"], 8)
    changes = []
    if stat.S_IMODE(found.st_mode) != mode:
        changes.append(Change(str(path), f"mode {stat.S_IMODE(found.st_mode):04o}\n", f"mode {mode:04o}\n"))
        if not check:
            path.chmod(mode)
    ids = _ids(settings, check=check)
    if ids and any(want not in (-1, has) for want, has in pairs(ids, (found.st_uid, found.st_gid))):
        names = " ".join(filter(None, (settings.get("owner"), settings.get("group"))))
        changes.append(Change(str(path), f"owner {found.st_uid}:{found.st_gid}\n", f"owner {names}\n"))
        if not check:
            os.chown(path, *ids)
    return changes if there else []  # a new folder is one change


def _ids(settings: Access, *, check: bool = False) -> tuple[int, int] | None:
    """Return user and group for os.chown, None if neither is set. Raises RoundhouseError."""
    owner, group = settings.get("owner"), settings.get("group")
    if not owner and not group:
        return None
    name = owner
    try:
        user = pwd.getpwnam(owner).pw_uid if owner else -1
        name = group
        return user, grp.getgrnam(group).gr_gid if group else -1
    except KeyError:
        if check:  # the role creates the account before it writes the file
            return None
        remedy = "Create it, or correct the setting that names it."
        raise RoundhouseError("account_unknown", "This host has no user or group {name}.", remedy, name=name) from None


def _remove(path: Path, *, check: bool) -> list[Change]:
    if not path.is_file() and not path.is_symlink():
        return []
    if path.is_symlink():
        before = f"a link to {path.readlink()}\n"
    else:
        # The diff must not show a file that only its owner may read.
        public = path.stat().st_mode & stat.S_IROTH
        before = path.read_text(errors="replace") if public else _HIDDEN
    if not check:
        path.unlink()
    return [Change(str(path), before, "")]


def _unwanted(folder: Path, wanted: Container[str]) -> list[Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    return [path for path in found if str(path) not in wanted]


def _remove_empty(folder: Path, wanted: Container[str]) -> None:
    """Remove empty subfolders, the deepest first."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink() and str(path) not in wanted and not any(path.iterdir()):
            path.rmdir()


def _link(path: Path, target: str, *, check: bool) -> list[Change]:
    before = str(path.readlink()) if path.is_symlink() else None
    if before == target:
        return []
    if path.exists() and not path.is_symlink():
        raise RoundhouseError(
            "not_a_link", "{path} is not a link, so it is not Roundhouse's.", "Move it away.", path=str(path)
        )
    if not check:
        files.link(path, target)
    return [Change(str(path), f"a link to {before}\n" if before else "", f"a link to {target}\n")]
