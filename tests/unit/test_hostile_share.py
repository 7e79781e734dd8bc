"""A client of the shared store without the token: it holds no thread, and does not prolong the offer."""

import socket
import threading
import time

import pytest
from pulling import MODEL

from roundhouse.models import peer_server
from roundhouse.models.peer_server import Handler, Server, StoreRepositories

TOKEN = "a" * 32


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve an empty store with short limits."""
    monkeypatch.setattr(peer_server, "REQUEST_SECONDS", 0.5)
    with Server(("127.0.0.1", 0), StoreRepositories(tmp_path), TOKEN, Handler) as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        made.shutdown()


def connect(server):
    return socket.create_connection(server.server_address, timeout=10)


def ask(server, token=None, path=f"/{MODEL}/resolve/main/config.json"):
    """Return the status of a request."""
    with connect(server) as client:
        key = f"Authorization: Bearer {token}\r\n" if token else ""
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{key}Connection: close\r\n\r\n".encode())
        return int((client.recv(64) or b"- 0 ").split()[1])


def closed(client):
    """Wait until the server has closed a connection."""
    try:
        while client.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


def test_many_sockets_without_a_request_are_a_bounded_number_of_threads(server):
    before = threading.active_count()
    clients = [connect(server) for _ in range(300)]
    deadline = time.monotonic() + 5
    while not server.connected and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 0 < threading.active_count() - before <= peer_server.CONNECTIONS_OF_ADDRESS
    assert all(closed(client) for client in clients)
    assert ask(server) == 401


@pytest.mark.parametrize("piece", [b"", b"G", b"X: y\r\n"])
def test_a_request_that_does_not_arrive_ends_after_its_time(server, piece):
    begun = time.monotonic()
    with connect(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\n" if b":" in piece else b"")
        client.settimeout(0.05)
        while time.monotonic() - begun < 5:
            try:
                client.sendall(piece)
                if not client.recv(4096):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert time.monotonic() - begun < 4
    until_idle(server)


def until_idle(server):
    deadline = time.monotonic() + 5
    while server.connected and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not server.connected


def test_requests_without_the_token_do_not_prolong_the_offer(server):
    before = server.asked_at
    assert [ask(server), ask(server, "b" * 32), ask(server, path="/x")] == [401] * 3
    assert server.asked_at == before
    assert ask(server, TOKEN) == 404
    assert server.asked_at > before


def test_an_answer_that_the_client_does_not_take_ends_after_its_time(server, tmp_path, monkeypatch):
    monkeypatch.setattr(peer_server, "SEND_SECONDS", 1)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(64 << 20)
    file = peer_server.File("large", 64 << 20, "sha256:00")
    monkeypatch.setattr(Handler, "route", lambda handler: handler.send_file(large, file, "0" * 40))
    with connect(server) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert client.recv(16)
        until_idle(server)
    assert server.requests == 0
