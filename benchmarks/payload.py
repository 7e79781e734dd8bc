#!/usr/bin/env python3
"""Compare two checkouts: the size of what Ansible ships with each module, and the import time of `roundhouse status`.

    git worktree add /tmp/before REVISION
    ln -s "$PWD/.venv" /tmp/before/.venv
    benchmarks/payload.py /tmp/before .

For each module, the program prints the size of Ansible's zip file (compressed bytes) and the lines of this project's
Python in it. Modules are paired by name. The import time is processor time, the median of fresh processes that
alternate between the checkouts. The program exits 1 if a zip file has grown or the import takes more than 1.05 times as
long.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

from ansible.executor.module_common import modify_module
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar

# Modules that exist since the first revision of this comparison.
RENAMED = {"quantise": "quantize", "offer": "share", "host_info": "component_info"}
RUNS = 15
TOLERANCE = 1.05  # of the import time: medians on an idle machine differ by less
# The imports of `status`. The second names are those of the former flat package, scripts/roundhouse.
IMPORT = """
import importlib, sys, time
begun = time.process_time()
for names in (("cli.main", "cli"), ("agents.status", "status")):
    for name in names:
        try:
            importlib.import_module(f"roundhouse.{name}")
        except ModuleNotFoundError:
            continue
        break
print(1000 * (time.process_time() - begun))
"""
ZIP = re.compile(rb"zip_?data\W+([A-Za-z0-9+/=]{200,})", re.IGNORECASE)


def main() -> int:
    """Compare, print and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout with a .venv")
    parser.add_argument("after", type=Path, help="another one")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # the process of one checkout
    args = parser.parse_args()
    if args.one:
        print(json.dumps(payloads(args.before)))
        return 0
    grown = compare_payloads(measured(args.before), measured(args.after))
    return 1 if compare_imports(args.before, args.after) or grown else 0


def compare_payloads(before: dict[str, list[int]], after: dict[str, list[int]]) -> bool:
    """Print a row for each module; return whether one has grown."""
    print(f"{'module':26}{'bytes':>9}{'after':>9}{'ratio':>7}{'lines':>8}{'after':>7}{'ratio':>7}")
    grown = False
    for name in sorted({*before, *after}):
        if name not in before or name not in after:
            print(f"{name:26}{'only in ' + ('after' if name in after else 'before'):>20}")
            continue
        (old_bytes, old_lines), (new_bytes, new_lines) = before[name], after[name]
        sizes = f"{old_bytes:9}{new_bytes:9}{new_bytes / old_bytes:7.2f}"
        print(f"{name:26}{sizes}{old_lines:8}{new_lines:7}{new_lines / old_lines:7.2f}")
        grown |= new_bytes > old_bytes
    return grown


def compare_imports(before: Path, after: Path) -> bool:
    """Print both medians; return whether the second exceeds the tolerance."""
    taken: dict[Path, list[float]] = {before: [], after: []}
    for _ in range(RUNS):
        for checkout, each in taken.items():
            each.append(import_ms(checkout))
    old, new = (statistics.median(each) for each in taken.values())
    print(f"import of `roundhouse status`, median of {RUNS}: {old:.1f} ms, after {new:.1f} ms, ratio {new / old:.2f}")
    return new > old * TOLERANCE


def import_ms(checkout: Path) -> float:
    """Import the command's modules in a fresh process; return milliseconds."""
    folder = next(place for name in ("src", "scripts") if (place := checkout.resolve() / name / "roundhouse").is_dir())
    # Without the .venv's packages, because the installed package is a link into one of the checkouts.
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(folder.parent)!r})\n{IMPORT}"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measured(checkout: Path) -> dict[str, list[int]]:
    """Build the modules in a process of the checkout's own, which reads its ansible.cfg."""
    command = [checkout.resolve() / ".venv/bin/python", Path(__file__).resolve(), "--one", ".", "."]
    return dict(json.loads(subprocess.run(command, cwd=checkout, check=True, capture_output=True).stdout))


def payloads(checkout: Path) -> dict[str, list[int]]:
    """Return bytes and lines by module. Raises ValueError if Ansible's wrapper has an unknown format."""
    init_plugin_loader()
    templar = Templar(DataLoader())
    found = {}
    for path in sorted((checkout.resolve() / "plugins/modules").glob("*.py")):
        built = modify_module(
            module_name=path.stem,
            module_path=str(path),
            module_args={},
            templar=templar,
            task_vars={"ansible_python_interpreter": "/usr/bin/python3"},
            module_compression="ZIP_DEFLATED",
        )
        encoded = ZIP.search(built.b_module_data)
        if encoded is None:
            raise ValueError(f"no zip in the wrapper of {path}")
        data = base64.b64decode(encoded[1])
        name = path.stem.removeprefix("roundhouse_")
        found[RENAMED.get(name, name)] = [len(data), lines(data)]
    return found


def lines(data: bytes) -> int:
    """Count the lines of the project's own files in a module's zip, without Ansible's and NVIDIA's files."""
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        own = [name for name in packed.namelist() if "/roundhouse" in name]
        return sum(len(packed.read(name).splitlines()) for name in own)


if __name__ == "__main__":
    sys.exit(main())
