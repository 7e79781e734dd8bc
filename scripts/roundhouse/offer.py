"""Offer this host's store to other hosts of the inventory for the time of their pull."""

from __future__ import annotations

import secrets
import threading
import time
from pathlib import Path

from . import manifest, share, store
from .errors import RoundhouseError
from .model_files import File

# Names the offer that stands. A server ends when the file is gone or names another.
CURRENT = Path("/run/roundhouse/offer")
# A play that was killed cannot take its offer back: nobody asked for so long, so nobody will.
IDLE_SECONDS = 300.0


class StoreShelf:
    """The shelf of a store: its verified models, by manifest."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def has(self, model: str) -> bool:
        """Return whether any revision of the model is there."""
        return bool(store.manifests(self.place, model))

    def revision(self, model: str, asked: str) -> str | None:
        """Return the revision, for a branch the one that was pulled for it last."""
        found = [held for held in store.manifests(self.place, model) if asked in (held.revision, held.asked)]
        return found[0].revision if found else None

    def files(self, model: str, revision: str) -> list[File]:
        """Return the files of a revision."""
        held = manifest.read(store.folder(self.place, model, revision))
        return held.files if held else []

    def path(self, model: str, revision: str, name: str) -> Path:
        """Return where a file lies."""
        return store.folder(self.place, model, revision) / name


class _Server(share.Server):
    """Knows whether anybody still wants something of it."""

    def __init__(self, place: Path, port: int, token: str) -> None:
        self.turn = threading.Lock()
        self.busy = 0
        self.asked_at = time.monotonic()
        # All interfaces: which of them the other host reaches is its own routing's matter. The token guards it.
        super().__init__(("", port), StoreShelf(place), token, _Handler)

    def is_idle(self) -> bool:
        """Return whether nothing is going out and nobody has asked for long."""
        return not self.busy and time.monotonic() - self.asked_at > IDLE_SECONDS

    def count(self, change: int) -> None:
        """Note that a request begins (1) or ends (-1)."""
        with self.turn:
            self.busy += change
            self.asked_at = time.monotonic()


class _Handler(share.Handler):
    server: _Server

    def do_GET(self) -> None:
        """Answer, and be counted meanwhile."""
        self.server.count(1)
        try:
            super().do_GET()
        finally:
            self.server.count(-1)

    do_HEAD = do_GET


def stand(place: Path, port: int, token: str, current: Path = CURRENT) -> None:
    """Offer the store until `withdraw`, another offer, or five minutes without a request. Raises RoundhouseError."""
    own = secrets.token_hex(8)
    current.parent.mkdir(parents=True, exist_ok=True)
    current.write_text(own)
    server = _bound(place, port, token)
    with server:
        server.timeout = 0.5
        while current.exists() and current.read_text() == own and not server.is_idle():
            server.handle_request()


def withdraw(current: Path = CURRENT) -> None:
    """Take the offer back; its server ends within a second."""
    current.unlink(missing_ok=True)


def _bound(place: Path, port: int, token: str) -> _Server:
    """Return the server; an earlier offer has ten seconds to leave the port."""
    reason = None
    for _ in range(20):
        try:
            return _Server(place, port, token)
        except OSError as error:
            reason = error.strerror
        time.sleep(0.5)
    raise RoundhouseError("offer", f"port {port} is not to be had ({reason}): set models_share_port to a free one.")
