"""The process that listens on a port, by the real kernel."""

import os
import socket

import pytest

from roundhouse.agents import ports

EVERYWHERE = "0.0.0.0"  # noqa: S104 - a listener on all interfaces is the case under test


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, EVERYWHERE), (socket.AF_INET6, "::")],
)
def test_a_listener_is_found_with_its_process(family, address):
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        found = ports.holder(listener.getsockname()[1])
    assert found is not None
    assert found.pid == os.getpid()
    assert f"(pid {os.getpid()})" in str(found)


def test_a_bound_socket_that_does_not_listen_holds_nothing():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert ports.holder(bound.getsockname()[1]) is None
