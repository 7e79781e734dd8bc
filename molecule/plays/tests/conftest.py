"""A deployed host on which the tests run the plays: its fixtures are molecule/hosts.py's."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
pytest_plugins = ("hosts",)
