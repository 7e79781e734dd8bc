"""Read from a connection until a deadline.

A socket's own timeout is for each read, so a peer that sends a byte now and then keeps a reader without end.
"""

from __future__ import annotations

import io
import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Reader(io.RawIOBase):
    """The reading side of a connection. `end` returns the deadline as seconds of time.monotonic()."""

    def __init__(self, connection: socket.socket, end: Callable[[], float]) -> None:
        self._connection, self._end = connection, end
        self._raw = connection.makefile("rb", buffering=0)  # keeps the connection open until this is closed
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        """Read into the buffer and return the number of bytes. Raises TimeoutError after the deadline."""
        left = self._end() - time.monotonic()
        if left <= 0 or not self._poll.poll(max(1, int(left * 1000))):
            raise TimeoutError("timed out")
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close this side; the connection is closed when its owner closes it too."""
        self._raw.close()
        super().close()
