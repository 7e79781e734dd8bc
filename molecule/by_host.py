"""Distribute the tests of several hosts: one worker runs all tests of a host, in order. For a scenario's conftest.py.

xdist's own groups (`--dist loadgroup`) have no effect with pytest 9.2, because xdist 3.8 sets an attribute that pytest
no longer reads. So the scheduler finds a test's host in the test's id, which contains docker://NAME.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling


def scheduler(hosts: list[str]) -> Callable[[pytest.Config, Any], LoadScopeScheduling]:
    """Return the hook pytest_xdist_make_scheduler for these hosts."""

    class ByHost(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((name for name in hosts if f"docker://{name}" in nodeid), nodeid)

    def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
        return ByHost(config, log)

    return pytest_xdist_make_scheduler
