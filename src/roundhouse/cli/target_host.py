"""Find the target host of a command. `remote`, which runs the command there, is imported only for another host."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..plan import deployed

# Values of --on for this machine and for the lab.
LOCAL_WORD, LAB_WORD = "local", "lab"
# The container that lab/create.yml makes.
LAB = "roundhouse-lab"


def lab_is_up() -> bool:
    """Return whether the stand-in host runs on this machine."""
    from ..host import docker

    return docker.output("container", "inspect", "--format", "{{.State.Running}}", LAB) == "true"


def of(on: str | None) -> str | None:
    """Return the target host: --on, ROUNDHOUSE_ON, this machine (None) if it has a plan, else a running lab."""
    chosen = on or os.environ.get("ROUNDHOUSE_ON")
    if chosen == LOCAL_WORD:
        return None
    if chosen or deployed.PATH.exists() or not lab_is_up():
        return chosen
    return LAB_WORD


def without(arguments: Sequence[str], *options: str) -> list[str]:
    """Return a command line without these options, each of which has a value."""
    rest = []
    words = iter(arguments)
    for word in words:
        if word in options:
            next(words, None)
        elif word.partition("=")[0] not in options:
            rest.append(word)
    return rest


def without_on(arguments: Sequence[str]) -> list[str]:
    """Return a command line without --on, for the host that it names."""
    return without(arguments, "--on")


def is_terminal() -> bool:
    """Return whether stdin and stdout are a terminal; the command on the host then gets one too."""
    return sys.stdin.isatty() and sys.stdout.isatty()
