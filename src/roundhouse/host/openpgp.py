"""Compute the fingerprints of OpenPGP public keys.

A minimal host has no gpg, and Debian 13 has no gpgv either, because its apt verifies with sqv.
"""

from __future__ import annotations

import base64
import hashlib
import re

_ARMOUR = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*?\n(?:[^\n]*:[^\n]*\n)*\s*\n?(.*?)\n=", re.DOTALL)
_PUBLIC_KEY = 6  # RFC 4880, section 4.3; a subkey is 14 and is signed by its key


def fingerprints(key: bytes) -> list[str]:
    """Return the fingerprints of the primary keys in an armoured key file. Raises ValueError for any other file."""
    found = []
    for block in _ARMOUR.findall(key):
        content = base64.b64decode(block)
        position = 0
        while position < len(content):
            tag, body, position = _packet(content, position)
            if tag == _PUBLIC_KEY:
                if not body or body[0] != 4:
                    version = body[0] if body else "unknown"
                    raise ValueError(f"the key's version is {version}, but apt needs version 4")
                # RFC 4880, section 12.2: SHA-1 over 99, the length in two bytes, and the packet.
                framed = b"\x99" + len(body).to_bytes(2, "big") + body
                found.append(hashlib.sha1(framed, usedforsecurity=False).hexdigest().upper())
    if not found:
        raise ValueError("the file has no armoured OpenPGP public key")
    return found


def _packet(content: bytes, at: int) -> tuple[int, bytes, int]:
    """Return a packet's tag, its body and the offset of the next packet (RFC 4880, section 4.2)."""
    header = content[at]
    if not header & 0x80:
        raise ValueError("the content is not an OpenPGP packet")
    if header & 0x40:
        tag, first = header & 0x3F, content[at + 1]
        if first < 192:
            length, start = first, at + 2
        elif first < 224:
            length, start = ((first - 192) << 8) + content[at + 2] + 192, at + 3
        else:
            length, start = int.from_bytes(content[at + 2 : at + 6], "big"), at + 6
    else:
        tag, size = (header & 0x3C) >> 2, 1 << (header & 3)
        length, start = int.from_bytes(content[at + 1 : at + 1 + size], "big"), at + 1 + size
    return tag, content[start : start + length], start + length
