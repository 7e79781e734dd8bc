"""A server on loopback for one test: it says nothing, and ends at once."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answer as a subclass says, without a log."""

    def log_message(self, *_):
        """Say nothing."""


@contextlib.contextmanager
def served(handler, port=0):
    """Serve by that handler for the length of the `with`, on a free port if none is given; yield the server."""
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
