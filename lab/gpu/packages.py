"""Build Debian packages from dicts of files, for the lab's repositories."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple


class Package(NamedTuple):
    """A package: `files` are texts or bytes by path, `tree` is a folder to copy, `scripts` are dpkg's (postinst)."""

    name: str
    version: str
    depends: str = ""
    fields: str = ""
    files: dict | None = None
    scripts: dict | None = None
    tree: Path | None = None


def build(folder: Path, package: Package) -> None:
    """Build NAME_VERSION.deb into `folder`."""
    with tempfile.TemporaryDirectory() as aside:
        root = Path(aside, "root")
        if package.tree:
            shutil.copytree(package.tree, root, symlinks=True)
        for path, content in (package.files or {}).items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
            target.chmod(0o755 if "/bin/" in path else 0o644)
        (root / "DEBIAN").mkdir(parents=True)
        (root / "DEBIAN/control").write_text(control(package))
        for script, text in (package.scripts or {}).items():
            (root / "DEBIAN" / script).write_text("#!/bin/sh\nset -e\n" + text)
            (root / "DEBIAN" / script).chmod(0o755)
        root.chmod(0o755)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{package.name}_{package.version.replace(':', '%3a')}_amd64.deb"
        run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", root, target)


def control(package: Package) -> str:
    """Return the control file."""
    lines = [f"Package: {package.name}", f"Version: {package.version}", "Architecture: amd64"]
    lines += [f"Depends: {package.depends}"] if package.depends else []
    lines += [package.fields] if package.fields else []
    lines += ["Maintainer: the lab <lab@localhost>", f"Description: the lab's stand-in for {package.name}", ""]
    return "\n".join(lines)


def run(*command, **options) -> bytes:
    """Run a program and return its output. Raises CalledProcessError."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, **options).stdout


def publish(folder: Path, key: str, *, suite: str = "", pool: Path | None = None) -> None:
    """Write Packages and a signed InRelease for a flat repository, or for a suite of a repository with a pool."""
    where = folder / f"dists/{suite}/stable/binary-amd64" if suite else folder
    where.mkdir(parents=True, exist_ok=True)
    packages = run("apt-ftparchive", "packages", pool.relative_to(folder) if pool else ".", cwd=folder)
    (where / "Packages").write_bytes(packages)
    named = {"Origin": "the lab"}
    if suite:
        named |= {"Suite": suite, "Codename": suite, "Components": "stable", "Architectures": "amd64"}
    options = [word for name, value in named.items() for word in ("-o", f"APT::FTPArchive::Release::{name}={value}")]
    top = folder / f"dists/{suite}" if suite else folder
    release = run("apt-ftparchive", *options, "release", ".", cwd=top)
    run("gpg", "--batch", "--yes", "--local-user", key, "--clearsign", "--output", top / "InRelease", input=release)


def make_key(name: str, into: Path) -> str:
    """Create a signing key, write its public key, and return its fingerprint."""
    run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", f"{name} <lab@localhost>", "ed25519", "sign", "0")
    listed = run("gpg", "--with-colons", "--list-keys", name).decode()
    fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
    into.parent.mkdir(parents=True, exist_ok=True)
    into.write_bytes(run("gpg", "--armor", "--export", fingerprint))
    return fingerprint


def nvml(source: Path, version: str) -> dict[str, bytes]:
    """Compile the stand-in for NVML as the library of one release of the driver."""
    options = ["-O1", "-shared", "-fPIC", f'-DDRIVER="{version}"', "-Wl,-soname,libnvidia-ml.so.1"]
    with tempfile.NamedTemporaryFile() as library:
        run("gcc", *options, "-o", library.name, source)
        return {"usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1": Path(library.name).read_bytes()}
