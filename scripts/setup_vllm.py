#!/usr/bin/env python3
"""Run site.yml on one screen: `scripts/setup_vllm.py`. See `scripts/setup_vllm.py --help`.

It uses the tools that `make setup` installs in .venv.
"""

import os
import sys
from pathlib import Path

PYTHON = Path(__file__).resolve().parents[1] / ".venv/bin/python"
if PYTHON.exists() and Path(sys.prefix).resolve() != PYTHON.parents[1].resolve():
    os.execv(PYTHON, [str(PYTHON), *sys.argv])

# A checkout needs no installation; a host has the package beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from roundhouse.cli.setup import main

if __name__ == "__main__":
    raise SystemExit(main())
