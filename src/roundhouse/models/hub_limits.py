"""Limit a question to the hub: its time, the number of its answers, and the bytes of each.

The client waits for a list of files without a limit, and its other limits are for each read of a socket. So a hub that
sends a byte now and then could keep a command waiting, and one that sends without end could fill the memory.
"""

from __future__ import annotations

import importlib
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

# The hub's pages have up to 1,000 entries; a mirror's may be shorter, or empty.
MOST_ANSWERS = 400
# A page has about 400 KB. The answer to a revision has 100 bytes for each file.
_MOST_BYTES = 16 << 20
# Of a compressed answer, the limit would not hold for the content.
HEADERS = {"Accept-Encoding": "identity"}
Result = TypeVar("Result")
Hook = Callable[[Any], None]


class ExceededError(Exception):
    """Report a question that took too long or too many answers."""


def ask(hooks: list[Hook], question: Callable[[], Result], seconds: float) -> Result:
    """Return the result of a question. `hooks` are the client's functions that receive each response.

    Raises ExceededError, and ValueError for an answer that is too long or compressed. The question runs in a thread of
    its own, because a wait for a name, a handshake or headers has no other limit. A thread that is too late is left to
    end with its connection or with the process.
    """
    outcome: Future[Result] = Future()
    threading.Thread(target=_run, args=(hooks, question, outcome), daemon=True).start()
    wait([outcome], seconds)
    if not outcome.done():
        raise ExceededError
    return outcome.result()


def _run(hooks: list[Hook], question: Callable[[], Result], outcome: Future[Result]) -> None:
    own, answers = threading.get_ident(), itertools.count(1)

    def received(response: Any) -> None:
        if threading.get_ident() != own:  # the client is shared with other questions and with downloads
            return
        if next(answers) > MOST_ANSWERS:
            raise ExceededError
        if response.request.method != "HEAD":
            _read(response)

    hooks.append(received)
    try:
        outcome.set_result(question())
    except BaseException as error:  # the thread of the caller raises it
        outcome.set_exception(error)
    finally:
        hooks.remove(received)


def _read(response: Any) -> None:
    """Read the body of a response up to the limit, so that the client finds it read."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ValueError
    body = bytearray()
    for piece in response.stream:
        body += piece
        if len(body) > _MOST_BYTES:
            raise ValueError
    response.stream.close()
    response.stream = importlib.import_module("httpx2").ByteStream(bytes(body))
