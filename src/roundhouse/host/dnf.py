"""Run dnf, and read its answers: the candidates of packages, the changes of a transaction, the enabled streams.

dnf waits for another process that holds one of its locks, without a message. Here such a lock is the error dnf_locked,
and apt_get.wait repeats the call until it is free.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import RoundhouseError
from ..util import process

STREAMS = Path("/etc/dnf/modules.d")
_OPTIONS = ("--assumeyes", "--setopt=exit_on_lock=True", "--setopt=install_weak_deps=False")
_LOCKED = re.compile(r"^(?:Error: )?(.*) already locked by (\d+)", re.MULTILINE)
# A table of dnf lists packages below headings, each after one space.
_HEADING = re.compile(r"^(\S[^:]*):\s*$")
_PACKAGE = re.compile(r"^ (\S+)")
_FORM = "%{name}\t%{evr}\t%{name}-%{version}-%{release}.%{arch}"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run dnf without questions. Raises RoundhouseError dnf_locked if another process holds a lock that it needs."""
    done = process.run(["dnf", *_OPTIONS, *arguments], env={**os.environ, "LC_ALL": "C.UTF-8"})
    if done.returncode != 0 and (found := _LOCKED.search(done.stderr + done.stdout)):
        raise locked(found[1], _named(found[2]), 0)
    return done


def locked(path: str, name: str, seconds: float) -> RoundhouseError:
    """Return the error for a lock that another process holds."""
    return RoundhouseError(
        "dnf_locked",
        "{holder} locks {path} of dnf, after a wait of {seconds} s.",
        "Wait until that process ends (`systemctl status dnf-makecache dnf-automatic`), then run the playbook again.",
        holder=name,
        path=path,
        seconds=round(seconds),
    )


def require(done: subprocess.CompletedProcess[str], what: str) -> None:
    """Raise RoundhouseError with dnf's message if dnf failed."""
    if done.returncode != 0:
        raise RoundhouseError(
            "dnf_failed",
            "dnf failed to {what}: {output}.",
            "Run the command again by hand (`dnf --verbose`), correct the cause, then run the playbook again.",
            what=what,
            output=reason(done),
        )


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return dnf's error as one line."""
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    at = next((index for index, line in enumerate(lines) if line.startswith("Error:")), max(len(lines) - 1, 0))
    return " ".join(lines[at : at + 3]).removeprefix("Error: ").rstrip(".") or f"exit status {done.returncode}"


def enabled(repositories: Sequence[str]) -> list[str]:
    """Return the options that enable repositories for one command."""
    return [f"--enablerepo={name}" for name in repositories]


def candidates(names: Iterable[str], repositories: Sequence[str] = ()) -> dict[str, str] | None:
    """Return the newest version that a repository offers, by name or NAME-VERSION-RELEASE.ARCH; None if dnf fails."""
    wanted = sorted(set(names))
    # A host that needs a proxy may not have it yet at preflight, so dnf gives up early.
    query = ["--quiet", "--setopt=retries=1", "--setopt=timeout=20", *enabled(repositories)]
    query += ["repoquery", "--available", "--latest-limit=1"]
    done = run(*query, "--queryformat", _FORM, *wanted)
    return parse_candidates(done.stdout, wanted) if done.returncode == 0 else None


def parse_candidates(output: str, wanted: Sequence[str]) -> dict[str, str]:
    """Return the versions of the wanted packages from lines of _FORM."""
    found = {}
    for line in output.splitlines():
        if line.count("\t") == 2:
            name, version, full = line.split("\t")
            found.update({each: version for each in (name, full) if each in wanted})
    return found


def additions(arguments: Sequence[str], repositories: Sequence[str] = ()) -> list[str] | None:
    """Return the names of packages that an installation adds; None if dnf cannot resolve it."""
    return _resolved(["install", *arguments], repositories, "Installing")


def removals(names: Sequence[str]) -> list[str] | None:
    """Return the names of packages that a removal removes; None if dnf cannot resolve it."""
    return _resolved(["remove", *names], (), "Removing")


def _resolved(command: Sequence[str], repositories: Sequence[str], heading: str) -> list[str] | None:
    done = run(*enabled(repositories), "--setopt=clean_requirements_on_remove=False", "--assumeno", *command)
    # dnf reports the answer "no" as a failure.
    if "Transaction Summary" not in done.stdout:
        return [] if done.returncode == 0 else None
    return parse_transaction(done.stdout, heading)


def parse_transaction(output: str, heading: str) -> list[str]:
    """Return the packages of dnf's table below all headings that begin with a word, such as Installing."""
    found, listed = [], False
    for line in output.splitlines():
        if title := _HEADING.match(line):
            listed = title[1].startswith(heading)
        elif line.startswith(("=", "Transaction")):
            listed = False
        elif listed and (package := _PACKAGE.match(line)):
            found.append(package[1])
    return found


def install(arguments: Sequence[str], repositories: Sequence[str] = (), *, erase: bool = False) -> None:
    """Install packages; `erase` permits the removal of packages that conflict. Raises RoundhouseError."""
    options = ["--allowerasing"] if erase else []
    done = run(*enabled(repositories), *options, "install", *arguments)
    require(done, f"install {' '.join(arguments)}")


def stream(module: str) -> str | None:
    """Return the enabled stream of a module, None without one."""
    path = STREAMS / f"{module}.module"
    lines = path.read_text().splitlines() if path.exists() else []
    fields: Mapping[str, str] = {
        name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)
    }
    return fields.get("stream") or None if fields.get("state") == "enabled" else None


def has_stream(wanted: str) -> bool:
    """Return true if MODULE:STREAM is enabled, and for an empty name."""
    module, _, name = wanted.partition(":")
    return not module or stream(module) == name


def enable_stream(wanted: str, repositories: Sequence[str] = ()) -> bool:
    """Enable MODULE:STREAM instead of another stream; return true if it was not enabled. Raises RoundhouseError."""
    module, _, name = wanted.partition(":")
    now = stream(module)
    if now == name:
        return False
    if now:
        require(run("module", "reset", module), f"reset the module {module}")
    require(run(*enabled(repositories), "module", "enable", wanted), f"enable the module stream {wanted}")
    return True


def _named(pid: str) -> str:
    try:
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})"
    except OSError:
        return f"another process (pid {pid})"
