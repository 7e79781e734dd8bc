#!/usr/bin/python3
"""A host's files and packages: `lab-snapshot take FILE`, and later `lab-snapshot compare FILE` prints what is another.

Of each path its kind, mode, owner and content; of each package that dpkg has it selected.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

# Not looked at, and why.
EXCEPT = re.compile(
    r"^/tmp$"  # nobody's
    r"|^/var/(log|cache|tmp)$"  # logs and caches
    r"|^/var/lib/(apt|dpkg|systemd|dkms|ucf)$"  # what apt, dpkg and systemd remember; dpkg is asked itself
    r"|^/root/\.ansible$|/__pycache__$"  # what a play and Python leave on any host
    r"|^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|^/etc/\.pwd\.lock$"  # the state before the last change
    r"|^/etc/ld\.so\.cache$|^/boot/initrd\.img-|^/lib/modules/[^/]+/modules\."  # made anew from what is there
    r"|^/usr/lib/modules/[^/]+/modules\."
    r"|^/(srv/lab|var/lib/lab)|^/etc/lab-|^/usr/local/bin/lab-"  # the lab's own
)


def files() -> dict[str, list]:
    """Return each path with what it is."""
    found = {}
    stack = [Path("/")]
    while stack:
        for path in stack.pop().iterdir():
            # Another disk is no part of the host here: what the kernel makes, the lab's volumes, Docker's data.
            if EXCEPT.search(str(path)) or path.is_mount():
                continue
            seen = path.lstat()
            what = [oct(seen.st_mode), seen.st_uid, seen.st_gid]
            if path.is_symlink():
                what.append(str(path.readlink()))
            elif path.is_dir():
                stack.append(path)
            elif path.is_file():
                what.append(hashlib.sha256(path.read_bytes()).hexdigest())
            found[str(path)] = what
    return found


def taken() -> dict[str, dict]:
    """Return all of it."""
    rows = subprocess.run(["dpkg", "--get-selections"], check=True, capture_output=True, text=True).stdout.splitlines()
    selected = [row.split() for row in rows]
    return {"files": files(), "packages": {name: state for name, state in selected if state != "deinstall"}}


def main(word: str, file: str) -> int:
    """Take one, or print the differences and return 1 where there are any."""
    now = taken()
    if word == "take":
        Path(file).write_text(json.dumps(now))
        return 0
    before = json.loads(Path(file).read_text())
    lines = [
        f"{path}: {before[kind].get(path, 'was not there')} -> {now[kind].get(path, 'is gone')}"
        for kind in now
        for path in sorted({*before[kind], *now[kind]})
        if before[kind].get(path) != now[kind].get(path)
    ]
    print("\n".join(lines))
    return 1 if lines else 0


if __name__ == "__main__":
    os.umask(0o022)
    raise SystemExit(main(*sys.argv[1:]))
