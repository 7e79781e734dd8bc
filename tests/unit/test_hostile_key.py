"""A key file that another OpenPGP parser reads in another way: no second key gets past the pin."""

import base64
import shutil
import subprocess

import pytest
from refusal import refused

from roundhouse.host import apt, openpgp

pytest_plugins = ("openpgp_keys",)  # the fixture keys


def raw(armoured):
    return b"".join(packet.raw for packet in openpgp.packets(armoured))


def armour(content, before=b"", head=b""):
    text = base64.encodebytes(content)
    return (
        before
        + b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n"
        + head
        + b"\n"
        + text
        + b"-----END PGP PUBLIC KEY BLOCK-----\n"
    )


def partial(content):
    """Return a literal packet of a partial length that ends the first parser's view before the content."""
    return b"\xcb\xe9" + b"\x00" * 512 + bytes([len(content) & 0x7F]) + content


def partial_user_id(content):
    """Return a user ID in parts of 16 and 0 bytes; read as one packet, its length covers the content after it."""
    return b"\xcd\xe4" + (13 + len(content)).to_bytes(4, "big") + bytes(12) + b"\x00" + content


@pytest.fixture
def forged(keys):
    """Return the pin, and files with the pinned key and another one."""
    (first, pin), (second, _) = keys
    one, two = raw(first), raw(second)
    return pin, {
        "a literal packet of partial length": armour(one + partial(two)),
        "a user ID of partial length": armour(one + partial_user_id(two)),
        "a literal packet": armour(one + b"\xcb\xff" + len(two).to_bytes(4, "big") + two),
        "a packet of indeterminate length": armour(one + b"\xaf" + two),
        "a key of indeterminate length": armour(one + b"\x9b" + two[3:]),
        "a marker packet": armour(one + b"\xca\x03PGP" + two),
        "an experimental packet": armour(one + b"\xfc\x05" + two),
        "a packet beyond the end": armour(one + b"\xcd\xff\x00\xff\xff\xff" + two),
        "a secret key": armour(one + b"\xc5" + two[1:]),
        "a key of version 6": armour(one + b"\xc6\x01\x06"),
        "a second block": first + second,
        "a second block without its end": first + second.replace(b"END", b"FIN"),
        "a block of another kind": first + b"-----BEGIN PGP MESSAGE-----\n\n" + base64.encodebytes(two),
        "a body that is not base64": first.replace(b"\n\n", b"\n\n!", 1),
        "a key after the checksum": first.replace(b"-----END", base64.encodebytes(two) + b"-----END"),
    }


def test_no_key_file_with_a_second_key_is_accepted(forged):
    pin, files = forged
    for name, content in files.items():
        with pytest.raises(apt.RoundhouseError) as error:
            apt.require_key(content, pin, name)
        assert error.value.code in ("key_invalid", "key_not_pinned"), name


def test_the_installed_armour_holds_only_the_packets_that_were_compared(keys):
    (first, pin), (second, _) = keys
    hidden = b"Comment: " + base64.b64encode(raw(second)) + b"\n"
    written = apt.pinned_key(armour(raw(first), before=b"notes\n" + raw(second), head=hidden), pin, "URL")
    assert raw(written.encode()) == raw(first)
    assert base64.b64encode(raw(second))[:60].decode() not in written
    assert apt.pinned_key(written.encode(), pin, "URL") == written


def test_gpg_reads_the_written_armour_as_the_same_key(keys):
    for armoured, fingerprint in keys:
        written = openpgp.armoured(openpgp.packets(armoured))
        shown = subprocess.run(
            [shutil.which("gpg"), "--show-keys", "--with-colons"],
            input=written.encode(),
            capture_output=True,
            check=True,
        ).stdout.decode()
        assert [line.split(":")[9] for line in shown.splitlines() if line.startswith("fpr")] == [fingerprint]


def test_a_file_that_is_cut_within_a_packet_is_an_error(keys):
    (first, pin), _ = keys
    content, ends = raw(first), {0}
    for packet in openpgp.packets(first):
        ends.add(max(ends) + len(packet.raw))
    for size in sorted({*range(len(content))} - ends):
        with refused("key_invalid"):
            apt.require_key(armour(content[:size]), pin, "URL")
