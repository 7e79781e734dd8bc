#!/usr/bin/python3
"""Record a host's files and packages with `lab-snapshot take FILE`; `lab-snapshot compare FILE` prints changes.

A record has the kind, mode, owner and content hash of each path, and the state of each package in dpkg or rpm.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# Paths that are skipped, each with the reason.
EXCEPT = re.compile(
    r"^/tmp$"  # Temporary files.
    r"|^/var/(log|cache|tmp)$"  # Logs and caches.
    r"|^/var/lib/(apt|dpkg|rpm|dnf|systemd|dkms|ucf)$"  # State of systemd and of packages, which are recorded.
    r"|^/root/\.ansible$|/__pycache__$"  # Files that Ansible and Python leave on any host.
    r"|^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|^/etc/\.pwd\.lock$"  # Backups of the last change.
    r"|^/etc/ld\.so\.cache$|^/boot/initr(d\.img|amfs)-|^/lib/modules/[^/]+/modules\."  # Files generated from others.
    r"|^/usr/lib/modules/[^/]+/modules\."
    r"|^/(srv/lab|var/lib/lab)|^/etc/lab-|^/usr/local/bin/lab-"  # The lab's own files.
)


def files() -> dict[str, list]:
    """Return each path with its mode, owner, group and link target or content hash."""
    found = {}
    stack = [Path("/")]
    while stack:
        for path in stack.pop().iterdir():
            # Mounts do not belong to the host: kernel file systems, the lab's volumes, Docker's data.
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
    """Return the record of the host's files and packages."""
    return {"files": files(), "packages": packages()}


def packages() -> dict[str, str]:
    """Return the state of each package: its selection in dpkg, or its release in rpm."""
    command = ["dpkg", "--get-selections"] if shutil.which("dpkg") else ["rpm", "-qa", "--qf", "%{NEVRA} installed\\n"]
    rows = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {name: state for name, state in map(str.split, rows) if state != "deinstall"}


def main(word: str, file: str) -> int:
    """Write the record to a file, or print the changes since then and return 1 if there are any."""
    now = taken()
    if word == "take":
        Path(file).write_text(json.dumps(now))
        return 0
    before = json.loads(Path(file).read_text())
    lines = [
        f"{path}: {before[kind].get(path, 'missing')} -> {now[kind].get(path, 'missing')}"
        for kind in now
        for path in sorted({*before[kind], *now[kind]})
        if before[kind].get(path) != now[kind].get(path)
    ]
    print("\n".join(lines))
    return 1 if lines else 0


if __name__ == "__main__":
    os.umask(0o022)
    raise SystemExit(main(*sys.argv[1:]))
