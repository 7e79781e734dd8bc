"""Read the certificate of the gateway, as clients need it.

HAProxy reads the certificate and its private key from one file. Only blocks of a certificate leave this module.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import RoundhouseError, UsageError
from . import haproxy_config

_FILE = re.compile(r" ssl crt (\S+) ")
# No dash in the body: a damaged block must not extend over a private key.
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def read() -> str:
    """Return the certificate with its chain, in PEM. Raises UsageError without TLS, and RoundhouseError."""
    found = _FILE.search(haproxy_config.deployed())
    if found is None:
        text, remedy = "The gateway has no certificate, because TLS is off.", "Set gateway_tls: true and deploy."
        raise UsageError("gateway_without_tls", text, remedy)
    return "\n".join(blocks(Path(found[1])))


def blocks(path: Path) -> list[str]:
    """Return the certificates of a PEM file, that of the host first. Raises RoundhouseError."""
    try:
        found = _BLOCK.findall(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        text, remedy = "The gateway's certificate {path} cannot be read ({why}).", "Run this as root."
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise RoundhouseError("certificate_unreadable", text, remedy, path=str(path), why=why) from None
    if not found:
        text, remedy = "{path} contains no certificate in PEM.", "Correct gateway_certificate and deploy."
        raise RoundhouseError("certificate_missing", text, remedy, path=str(path))
    return found
