"""A proxy that requires a login: the only way to hosts whose names do not resolve on this machine."""

from __future__ import annotations

import base64
import contextlib
import http.client
import select
import socket
from urllib.parse import urlsplit

from small_server import Handler, served

USER, PASSWORD = "someone", "a-password-of-the-proxy"


class Proxy:
    """`ways` are ports on loopback by the name of a host; `requests` are what was asked with the login."""

    def __init__(self, **ways):
        self.ways = {name.replace("_", "."): port for name, port in ways.items()}
        self.requests, self.port, self.denied = [], 0, 0

    @property
    def url(self):
        return f"http://{USER}:{PASSWORD}@127.0.0.1:{self.port}"


@contextlib.contextmanager
def serve(proxy):
    """Serve the proxy during the `with` block."""
    wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Relay(Handler):
        protocol_version = "HTTP/1.1"

        def way(self, host):
            """Return the port of a host, after an answer if there is none or the login is wrong."""
            if self.headers.get("Proxy-Authorization") != wanted:
                proxy.denied += 1
                self.send_response(407)
                self.send_header("Proxy-Authenticate", 'Basic realm="lab"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
            proxy.requests.append(f"{self.command} {self.path}")
            if host not in proxy.ways:
                self.send_error(502)
                return None
            return proxy.ways[host]

        def do_CONNECT(self):
            if port := self.way(self.path.partition(":")[0]):
                with socket.create_connection(("127.0.0.1", port)) as server:
                    self.send_response(200)
                    self.end_headers()
                    relay(self.connection, server)
                self.close_connection = True

        def do_GET(self):
            parts = urlsplit(self.path)
            if port := self.way(parts.hostname):
                server = http.client.HTTPConnection("127.0.0.1", port)
                kept = {name: value for name, value in self.headers.items() if not name.startswith("Proxy-")}
                server.request(self.command, parts.path + (f"?{parts.query}" if parts.query else ""), headers=kept)
                answer = server.getresponse()
                body = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name not in ("Connection", "Transfer-Encoding", "Date", "Server"):
                        self.send_header(name, value)
                if not answer.getheader("Content-Length"):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

        do_HEAD = do_GET

    with served(Relay) as server:
        proxy.port = server.server_port
        yield proxy


def relay(one, other):
    """Pass bytes on between two sockets until one of them ends."""
    while True:
        for ready in select.select([one, other], [], [], 10)[0]:
            content = ready.recv(65536)
            if not content:
                return
            (other if ready is one else one).sendall(content)
