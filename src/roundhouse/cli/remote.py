"""Run the same command on another host: the lab's container, or a host over ssh."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from typing import Any

from ..errors import RoundhouseError, UsageError
from ..host import docker
from ..plan import deployed
from ..util import console

LAB_WORD = "lab"  # what --on says
LAB = "roundhouse-lab"  # the container that lab/create.yml makes
_SSH_FAILED = 255  # ssh(1): its own exit status when the connection failed


def lab_is_up() -> bool:
    """Return whether the stand-in host runs on this machine."""
    return docker.output("container", "inspect", "--format", "{{.State.Running}}", LAB) == "true"


def target(on: str | None) -> str | None:
    """Return where to run: --on, ROUNDHOUSE_ON, this machine (None) if it has a plan, else a running lab."""
    chosen = on or os.environ.get("ROUNDHOUSE_ON")
    if chosen or deployed.PATH.exists() or not lab_is_up():
        return chosen
    print("no plan on this machine: running on the lab host (--on lab)", file=sys.stderr)
    return LAB_WORD


def run(target: str, arguments: list[str], *, terminal: bool) -> int:
    """Run `roundhouse ARGUMENTS` on the target and return its exit status. Output passes through."""
    try:
        status = _call(target, arguments, terminal=terminal).returncode
    except KeyboardInterrupt:
        text, remedy = "Interrupted here; a switch on {host} may go on.", "{program} --on {host} status shows it."
        raise RoundhouseError("interrupted", text, remedy, host=target, program=console.command_name()) from None
    if status == _SSH_FAILED and target != LAB_WORD:
        raise RoundhouseError("host_unreachable", "ssh did not reach {host}; its message is above.", host=target)
    return status


def ask(target: str, arguments: list[str]) -> dict[str, Any]:
    """Return the one object of `roundhouse ARGUMENTS`, which have --json, on the target. Raises RoundhouseError."""
    try:
        told = json.loads(_call(target, arguments, stdout=subprocess.PIPE).stdout)
    except ValueError:
        raise RoundhouseError("host_unreachable", "{host} did not answer; its message is above.", host=target) from None
    if not told["ok"]:
        error = told["errors"][0]
        raise RoundhouseError.from_json({"remedy": "", "fields": {}, **error})
    return dict(told)


def _call(
    target: str, arguments: list[str], *, terminal: bool = False, stdout: int | None = None
) -> subprocess.CompletedProcess[str]:
    words = ["roundhouse", *arguments]
    if target == LAB_WORD:
        if not lab_is_up():
            raise RoundhouseError("lab_not_running", "The lab is not running.", "Start it with make demo.")
        command = ["docker", "exec", "--interactive", *(["--tty"] if terminal else []), LAB, *words]
    elif target.startswith("ssh://"):  # ssh hands one string to the host's shell
        command = ["ssh", *(["-t"] if terminal else []), target, "sudo", *map(shlex.quote, words)]
    else:
        raise UsageError("host_invalid", "--on is {host!r}.", "Write lab, or ssh://user@host.", host=target)
    try:
        return subprocess.run(command, stdout=stdout, text=True, check=False)
    except FileNotFoundError:
        text = "{program} is not installed on this machine."
        raise RoundhouseError("program_missing", text, "Install it.", program=command[0]) from None


def without_on(arguments: list[str]) -> list[str]:
    """Return a command line without its --on, for the host that it names."""
    rest = []
    words = iter(arguments)
    for word in words:
        if word == "--on":
            next(words, None)
        elif not word.startswith("--on="):
            rest.append(word)
    return rest
