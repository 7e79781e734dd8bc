"""The log of a run of site.yml, and what setup_vllm.py prints at its end."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from .setup_run import ROOT, Wanted

LOCAL, LAB = "inventory/local", "inventory/lab"
AFTER_FAILURE = "next: correct the problem, then run the same command again; completed work is kept."
_KEPT = 10  # logs of one inventory
_MOST_LINES = 12  # of an error
_ESCAPE = re.compile(r"\x1b\[[\d;]*m")


@contextmanager
def opened(kept: Path) -> Iterator[TextIO]:
    """Yield a new log beside the file `kept`, which names the inventory; remove all but the last logs."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    path = kept.with_name(f"{kept.stem}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log")
    for old in sorted(kept.parent.glob(f"{kept.stem}-????????-??????-*.log"))[: -_KEPT + 1]:
        old.unlink(missing_ok=True)
    path.touch(mode=0o600)
    with path.open("w") as log:
        yield log


def errors(log: Path) -> list[str]:
    """Return the last error that Ansible wrote to the log outside of a task; none where there is none."""
    lines = [_ESCAPE.sub("", line) for line in log.read_text(errors="replace").splitlines()]
    starts = [at for at, line in enumerate(lines) if line.startswith("[ERROR]")]
    if not starts:
        return []
    found = lines[starts[-1] : starts[-1] + _MOST_LINES]
    return [found[0].removeprefix("[ERROR]: "), *(line for line in found[1:] if line.strip())]


def next_steps(wanted: Wanted, hosts: list[str]) -> str:
    """Return the commands that follow a run that succeeded."""
    check = {"-C", "--check"} & {*wanted.words}
    if check or (wanted.tags and "agents" not in wanted.tags):
        words = [word for word in wanted.words if word not in check]
        why = "apply these changes" if check else "complete the setup"
        if check and wanted.tags:
            words += ["--tags", ",".join(wanted.tags)]
        own = [] if _is(wanted, LOCAL) else ["--inventory", wanted.inventory]
        again = shlex.join(["scripts/setup_vllm.py", *own, *(["--", *words] if words else [])])
        return f"next: {again}   ({why})"
    command = "roundhouse"
    if _is(wanted, LAB):
        command = "scripts/switch.py"
    elif not _is(wanted, LOCAL):
        command = f"scripts/switch.py --on ssh://root@{hosts[0] if hosts else 'HOST'}"
    lines = ((f"{command} status", "show the agents"), (f"{command} client-config curl", "send a first request"))
    width = max(len(words) for words, _ in lines)
    return "\n".join(
        f"{'      ' if at else 'next: '}{words:<{width}}   {about}" for at, (words, about) in enumerate(lines)
    )


def _is(wanted: Wanted, inventory: str) -> bool:
    return Path(wanted.inventory).resolve() == (ROOT / inventory).resolve()
