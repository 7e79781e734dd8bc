"""A server on loopback for one test, without a log and with an immediate end."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """A request handler without a log; a subclass answers."""

    def log_message(self, *_):
        """Log nothing."""


@contextlib.contextmanager
def served(handler, port=0):
    """Serve with that handler during the `with` block, on a free port by default; yield the server."""
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
