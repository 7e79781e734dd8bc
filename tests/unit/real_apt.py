"""A host of its own for the real apt: APT_CONFIG redirects its files into a folder, with one signed repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from roundhouse.host import apt, apt_get, apt_sources

CONFIG = """\
Dir::Etc "{root}/etc/apt";
Dir::State "{root}/var/lib/apt";
Dir::State::status "{root}/status";
Dir::Cache "{root}/var/cache/apt";
Dir::Log "{root}/log";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "root";
"""


class Host:
    """The folder, the repository's URI with and without $(ARCH), and its key's file."""

    def __init__(self, root: Path):
        self.root, self.folder = root, root / "etc/apt/sources.list.d"
        self.key = root / "key.asc"
        self.uri, self.variable_uri = f"file:{root}/deb/amd64/", f"file:{root}/deb/$(ARCH)"
        self.source = apt.Source("roundhouse-toolkit", self.uri, "/", "")
        self.wanted = {**self.source._asdict(), "key_url": f"file://{self.key}", "refresh": True}
        self.wanted["fingerprint"] = self._publish()

    def write(self, name: str, text: str) -> Path:
        """Write a source of someone else, and return its path."""
        path = self.folder / name
        path.write_text(text)
        return path

    def update(self) -> subprocess.CompletedProcess[str]:
        """Run `apt-get update` as a person does."""
        return subprocess.run(["apt-get", "update"], capture_output=True, text=True, check=False)

    def _publish(self) -> str:
        """Build the repository, sign it, and return the key's fingerprint."""
        deb, home = self.root / "deb/amd64", self.root / "gnupg"
        for path in (deb, self.folder, self.root / "var/lib/apt/lists/partial", self.root / "var/cache/apt", home):
            path.mkdir(parents=True)
        home.chmod(0o700)
        (self.root / "status").write_text("")

        def gpg(*arguments: str | Path) -> bytes:
            command = ["gpg", "--homedir", home, "--batch", "--yes", *arguments]
            return subprocess.run(command, check=True, capture_output=True).stdout

        gpg("--passphrase", "", "--quick-generate-key", "lab", "ed25519", "sign", "0")
        self.key.write_bytes(gpg("--armor", "--export", "lab"))
        (deb / "Packages").write_text("")
        empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        (deb / "Release").write_text(f"Date: Mon, 30 Nov 2026 12:00:00 UTC\nSHA256:\n {empty} 0 Packages\n")
        gpg("--clearsign", "--output", deb / "InRelease", deb / "Release")
        listed = gpg("--with-colons", "--list-keys", "lab").decode().splitlines()
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=True)
        return next(line.split(":")[9] for line in listed if line.startswith("fpr"))


@pytest.fixture(name="host")
def real_apt_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host whose apt is the real one."""
    for program in ("apt-get", "gpg"):
        if not shutil.which(program):
            pytest.skip(f"{program} not found; this test runs the real apt with a signed repository")
    host = Host(tmp_path)
    (tmp_path / "apt.conf").write_text(CONFIG.format(root=tmp_path))
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setattr(apt_sources, "LIST", tmp_path / "etc/apt/sources.list")
    monkeypatch.setattr(apt_sources, "FOLDER", host.folder)
    monkeypatch.setattr(apt, "_KEYS", tmp_path / "etc/apt/keyrings")
    monkeypatch.setattr(apt_get, "LOCKS", tuple(tmp_path / str(path)[1:] for path in apt_get.LOCKS))
    assert os.environ["APT_CONFIG"]
    return host
