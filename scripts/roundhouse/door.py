"""What a client meets at an agent's port: TLS, and whether a key is wanted. As deployed, not as wanted."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .errors import RoundhouseError
from .gateway_config import FOLDER
from .plan import Plan


class Door(NamedTuple):
    """How an agent's port is spoken to."""

    scheme: str
    keyed: bool


def of(plan: Plan, config: Path | None = None) -> Door:
    """Return it from the gateway's own configuration; without a gateway an engine listens on loopback, keyless."""
    if plan.get("gateway_port") is None:
        return Door("http", keyed=False)
    path = config or Path(FOLDER, "haproxy.cfg")
    try:
        text = path.read_text()
    except OSError as error:
        cure = "run this as root" if isinstance(error, PermissionError) else "deploy again"
        raise RoundhouseError("gateway", f"{path} cannot be read ({error.strerror}): {cure}.") from None
    return Door("https" if " ssl crt " in text else "http", keyed="/keys.map" in text)
