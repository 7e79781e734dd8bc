#!/usr/bin/env python3
"""The users' old words for site.yml: `scripts/setup_vllm.py --install-dependencies --download-models --setup-docker`.

Needs the tools of `make setup`; it finds them in .venv by itself.
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
