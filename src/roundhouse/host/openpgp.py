"""Parse OpenPGP public keys, compute their fingerprints, and write them again as armour.

A minimal host has no gpg, and Debian 13 has no gpgv either, because its apt verifies with sqv. A packet that a public
key does not need is refused, because another parser may find a second key in it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import NamedTuple

_ARMOUR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t\r]*\n(?:[^\n:]+:[^\n]*\n)*[ \t\r]*\n"
    rb"([A-Za-z0-9+/=\r\n]+?)\n(?:=[A-Za-z0-9+/]{4}[ \t\r]*\n)?-----END PGP PUBLIC KEY BLOCK-----"
)
_BEGIN = b"-----BEGIN"
# RFC 4880, section 4.3; a subkey is signed by its key.
_PUBLIC_KEY = 6
_PARTS = {2: "signature", _PUBLIC_KEY: "key", 13: "user ID", 14: "subkey", 17: "user attribute"}
_LINE = 64


class Packet(NamedTuple):
    """A packet: its tag, its body, and its bytes with the header."""

    tag: int
    body: bytes
    raw: bytes


def packets(key: bytes) -> list[Packet]:
    """Return the packets of the public keys in an armoured key file. Raises ValueError for any other file."""
    blocks = _ARMOUR.findall(key)
    if not blocks or key.count(_BEGIN) != len(blocks):
        raise ValueError("the file has no armoured OpenPGP public key")
    found = []
    for block in blocks:
        try:
            content = base64.b64decode(b"".join(block.split()), validate=True)
        except binascii.Error:
            raise ValueError("the armour is not base64") from None
        position = 0
        while position < len(content):
            packet = _packet(content, position)
            found.append(packet)
            position += len(packet.raw)
    return found


def fingerprints(found: list[Packet]) -> list[str]:
    """Return the fingerprints of the primary keys. Raises ValueError for a key of another version than 4."""
    keys = [packet.body for packet in found if packet.tag == _PUBLIC_KEY]
    for body in keys:
        if body[:1] != b"\x04":
            version = body[0] if body else "unknown"
            raise ValueError(f"the key's version is {version}, but apt needs version 4")
    # RFC 4880, section 12.2: SHA-1 over 99, the length in two bytes, and the packet.
    framed = [b"\x99" + len(body).to_bytes(2, "big") + body for body in keys]
    return [hashlib.sha1(each, usedforsecurity=False).hexdigest().upper() for each in framed]


def armoured(found: list[Packet]) -> str:
    """Return an armoured key file of the packets (RFC 4880, section 6)."""
    content = b"".join(packet.raw for packet in found)
    text = base64.b64encode(content).decode()
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    check = base64.b64encode(_crc24(content).to_bytes(3, "big")).decode()
    begin, end = (f"-----{word} PGP PUBLIC KEY BLOCK-----" for word in ("BEGIN", "END"))
    return "\n".join([begin, "", *lines, f"={check}", end, ""])


def _crc24(content: bytes) -> int:
    crc = 0xB704CE
    for byte in content:
        crc ^= byte << 16
        for _ in range(8):
            crc = (crc << 1) ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc & 0xFFFFFF


def _packet(content: bytes, at: int) -> Packet:
    """Return the packet at an offset (RFC 4880, section 4.2). Raises ValueError."""
    header, first = content[at], content[at + 1] if at + 1 < len(content) else 0
    if not header & 0x80:
        raise ValueError("the content is not an OpenPGP packet")
    tag = header & 0x3F if header & 0x40 else (header & 0x3C) >> 2
    if tag not in _PARTS:
        raise ValueError(f"a packet has the tag {tag}, but a public key has only {', '.join(_PARTS.values())}")
    if header & 0x40 and 224 <= first < 255:
        raise ValueError("a packet has a partial length, which a public key does not need")
    if not header & 0x40 and header & 3 == 3:
        raise ValueError("a packet has no length, which a public key needs")
    length, start = _new_length(content, at + 1, first) if header & 0x40 else _old_length(content, at + 1, header & 3)
    if start + length > len(content):
        raise ValueError("a packet ends after the file")
    return Packet(tag, content[start : start + length], content[at : start + length])


def _new_length(content: bytes, at: int, first: int) -> tuple[int, int]:
    """Return a body's length and offset for a header of the new format."""
    if first < 192:
        return first, at + 1
    if first < 224:
        return ((first - 192) << 8) + int.from_bytes(content[at + 1 : at + 2], "big") + 192, at + 2
    return int.from_bytes(content[at + 1 : at + 5], "big"), at + 5


def _old_length(content: bytes, at: int, kind: int) -> tuple[int, int]:
    """Return a body's length and offset for a header of the old format."""
    size = 1 << kind
    return int.from_bytes(content[at : at + size], "big"), at + size
