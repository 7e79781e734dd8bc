"""Run the command on its target host: this machine, the lab's container, or a host over ssh."""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..errors import RoundhouseError, UsageError
from ..plan import deployed
from ..util import console
from . import target_host
from .target_host import LAB, LAB_WORD

# The exit status of ssh(1) when the connection failed.
_SSH_FAILED = 255
# The exit statuses of docker exec and of a shell for a program that does not exist.
_NOT_FOUND = (126, 127)
_SEE_ABOVE = "Correct what that message names, then run the command again."
# Marks the processes of one call on the host, so that an interrupt can find them.
_MARK = "ROUNDHOUSE_CALL"
_INTERRUPT = 'for p in /proc/[0-9]*; do grep -qs "$0" "$p/environ" && kill -INT "${p#/proc/}"; done; :'


def announce(target: str) -> None:
    """Name the target host on stderr. Raises RoundhouseError, UsageError for one that cannot be a target."""
    _command(target, [])
    console.lines()(f"host: {target}")


def run(target: str, arguments: list[str], *, terminal: bool) -> int:
    """Run `roundhouse ARGUMENTS` on the target and return its exit status. Output passes through.

    The object of --json gets the field `host`.
    """
    words = ["roundhouse", *arguments]
    if "--json" not in arguments:
        announce(target)
        return _status(target, _call(target, words, terminal=terminal))
    done = _call(target, words, stdout=subprocess.PIPE)
    status = _status(target, done)
    try:
        print(json.dumps({**json.loads(done.stdout), "host": target}))
    except (ValueError, TypeError):  # the host's command did not print an object
        print(done.stdout, end="")
    return status


def answer(target: str, arguments: list[str], *, stdin: str | None = None) -> dict[str, Any]:
    """Return the object of `roundhouse ARGUMENTS`, which have --json, on the target. Raises RoundhouseError."""
    done = _call(target, ["roundhouse", *arguments], stdout=subprocess.PIPE, stdin=stdin or "")
    _status(target, done)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        text = "{host} did not answer with JSON; its message is above."
        raise RoundhouseError("host_unreachable", text, "Check the host with `ssh` or `docker`.", host=target) from None


def ask(target: str, arguments: list[str], *, stdin: str | None = None) -> dict[str, Any]:
    """Return the same where it is ok. Raises RoundhouseError, also for the first error of the object."""
    found = answer(target, arguments, stdin=stdin)
    if not found["ok"]:
        raise error_of(found)
    return found


def error_of(found: dict[str, Any]) -> RoundhouseError:
    """Return the first error of an object that is not ok."""
    return RoundhouseError.from_json({"remedy": "", "fields": {}, **found["errors"][0]})


def shell(target: str, script: str, *arguments: str, stdin: IO[bytes] | None = None) -> str:
    """Return what a shell script prints on the target; `arguments` are its $0, $1 and so on. Raises RoundhouseError."""
    command = _command(target, ["sh", "-c", script, *arguments])
    done = subprocess.run(command, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        text = "A command on {host} failed with exit status {status}; its message is above."
        raise RoundhouseError("host_command_failed", text, _SEE_ABOVE, host=target, status=done.returncode)
    return done.stdout.strip()


@contextmanager
def output_of(target: str, words: Sequence[str]) -> Iterator[IO[bytes]]:
    """Yield the output of a program on the target as it comes. Raises RoundhouseError when the program failed."""
    with subprocess.Popen(_command(target, words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as running:
        if running.stdout is None:
            raise AssertionError("stdout is a pipe")
        yield running.stdout
        while running.stdout.read(1 << 16):  # what is left, so that the program ends
            pass
    if running.returncode != 0:
        text = "A command on {host} failed with exit status {status}; its message is above."
        raise RoundhouseError("host_command_failed", text, _SEE_ABOVE, host=target, status=running.returncode)


@contextmanager
def uploaded(target: str, file: Path) -> Iterator[str]:
    """Copy a file of this machine to the target, yield its path there, and remove it at the end."""
    with file.open("rb") as content:
        there = shell(target, 'f=$(mktemp) && cat >"$f" && echo "$f"', "upload", stdin=content)
    try:
        yield there
    finally:
        shell(target, 'rm -f -- "$1"', "remove", there)


def _status(target: str, done: subprocess.CompletedProcess[str]) -> int:
    """Return the exit status. Raises RoundhouseError where the host was not reached or has no such command."""
    if done.returncode == _SSH_FAILED and target != LAB_WORD:
        text, remedy = "ssh did not reach {host}; its message is above.", "Correct --on, or the access by ssh."
        raise RoundhouseError("host_unreachable", text, remedy, host=target)
    if done.returncode in _NOT_FOUND:
        text, remedy = "{host} does not have the command roundhouse.", "Run ansible-playbook site.yml for that host."
        raise RoundhouseError("host_without_command", text, remedy, host=target)
    return done.returncode


def _call(
    target: str, words: list[str], *, terminal: bool = False, stdout: int | None = None, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the words on the target; `stdin` None passes this machine's through. An interrupt ends them there too."""
    mark = secrets.token_hex(8)
    try:
        return subprocess.run(
            _command(target, words, terminal=terminal, mark=mark), stdout=stdout, input=stdin, text=True, check=False
        )
    except FileNotFoundError:
        program = _command(target, [])[0]
        text = "{program} is not installed on this machine."
        raise RoundhouseError("program_missing", text, "Install it.", program=program) from None
    except KeyboardInterrupt:
        raise _interrupted(target, mark) from None


def _interrupted(target: str, mark: str) -> RoundhouseError:
    """Interrupt the call on the host as well, and return the error."""
    try:
        shell(target, _INTERRUPT, f"{_MARK}={mark}")
        text = "Interrupted. The command on {host} was interrupted too; a switch is rolled back."
    except RoundhouseError:
        text = "Interrupted. {host} was not reached again, and the command may continue there."
    remedy = "{program} --on {host} status shows the result."
    return RoundhouseError("interrupted", text, remedy, host=target, program=console.command_name())


def _command(target: str, words: Sequence[str], *, terminal: bool = False, mark: str = "") -> list[str]:
    """Return the local command line that runs the words on the target. Raises RoundhouseError, UsageError."""
    if target == LAB_WORD:
        if not target_host.lab_is_up():
            raise RoundhouseError("lab_not_running", "The lab is not running.", "Start it with make demo.")
        # On a machine with a plan, a command without --on does not run in the lab.
        name = f"{console.command_name()}{' --on lab' if deployed.PATH.exists() else ''}"
        environment = [f"--env={_MARK}={mark}", f"--env={console.CALLED_AS}={name}"] if mark else []
        options = [*(["--tty"] if terminal else []), *environment]
        return ["docker", "exec", "--interactive", *options, LAB, *words]
    if target.startswith("ssh://"):  # ssh hands one string to the host's shell
        own = [f"{_MARK}={mark}"] if mark else []
        return ["ssh", *(["-t"] if terminal else []), target, *own, "sudo", *map(shlex.quote, words)]
    remedy = "Write local, lab, or ssh://user@host."
    raise UsageError("host_invalid", "--on is {host!r}.", remedy, host=target)
