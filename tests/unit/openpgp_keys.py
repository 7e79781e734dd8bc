"""Provide two OpenPGP keys that gpg made, as the fixture `keys`."""

import shutil
import subprocess

import pytest


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Yield two armoured keys with gpg's own fingerprints."""
    if not shutil.which("gpg"):
        pytest.skip("gpg not found; install gnupg to create keys")
    home = tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)

    def gpg(*arguments):
        return subprocess.run(["gpg", "--homedir", home, "--batch", *arguments], check=True, capture_output=True).stdout

    made = []
    for name, kind in (("one", "ed25519"), ("two", "rsa2048")):
        gpg("--passphrase", "", "--quick-generate-key", name, kind, "sign", "0")
        listed = gpg("--with-colons", "--list-keys", name).decode().splitlines()
        fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr"))
        made.append((gpg("--armor", "--export", name), fingerprint))
    yield made
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=True)  # otherwise it keeps running
