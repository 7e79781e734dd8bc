"""Run the same command on another host: the lab's container, or a host over ssh."""

from __future__ import annotations

import shutil
import subprocess

from .errors import UsageError

LAB_WORD = "lab"  # what --on says
LAB = "roundhouse-lab"  # the container that lab/create.yml makes


def lab_is_up() -> bool:
    """Return whether the stand-in host runs on this machine."""
    if not shutil.which("docker"):
        return False
    command = ["docker", "container", "inspect", "--format", "{{.State.Running}}", LAB]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() == "true"


def run(target: str, arguments: list[str], *, terminal: bool) -> int:
    """Run `roundhouse ARGUMENTS` on the target and return its exit code. Output passes through."""
    return subprocess.run([*_prefix(target, terminal), "roundhouse", *arguments], check=False).returncode


def _prefix(target: str, terminal: bool) -> list[str]:
    if target == LAB_WORD:
        return ["docker", "exec", "--interactive", *(["--tty"] if terminal else []), LAB]
    if target.startswith("ssh://"):
        return ["ssh", *(["-t"] if terminal else []), target, "sudo"]
    raise UsageError("on", f"--on is {target!r}: write lab, or ssh://user@host.")
