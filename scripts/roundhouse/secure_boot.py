"""Secure Boot from the firmware's variables: no mokutil is needed to read them.

An efivar's file begins with four bytes of attributes (Documentation/filesystems/efivarfs.rst).
"""

from __future__ import annotations

from pathlib import Path

_EFIVARS = "sys/firmware/efi/efivars"
_STATE = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
# shim's list of the machine owner's keys, as certificates.
_OWNERS_KEYS = "MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23"
# The certificate with which DKMS signs: Debian's dkms, and Ubuntu's through shim-signed.
_DKMS_KEYS = ("var/lib/dkms/mok.pub", "var/lib/shim-signed/mok/MOK.der")


def enabled(root: Path) -> bool | None:
    """Return whether Secure Boot is on; None when the firmware does not say, as without EFI."""
    path = root / _EFIVARS / _STATE
    return path.read_bytes()[-1] == 1 if path.exists() else None


def dkms_key_is_enrolled(root: Path) -> bool:
    """Return whether the machine's owner has enrolled the key that DKMS signs with."""
    path = root / _EFIVARS / _OWNERS_KEYS
    enrolled = path.read_bytes() if path.exists() else b""
    keys = [(root / key).read_bytes() for key in _DKMS_KEYS if (root / key).exists()]
    return any(key and key in enrolled for key in keys)
