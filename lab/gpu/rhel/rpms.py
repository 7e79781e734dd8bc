"""Build signed RPM packages and repositories of dnf from dicts of files, for the lab's stand-ins of RHEL."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

SPEC = """\
%global debug_package %{{nil}}
%global __os_install_post %{{nil}}
%global _build_id_links none
%global _binary_payload w1.gzdio
Name: {name}
Version: {version}
Release: {release}
{epoch}Summary: the lab's stand-in for {name}
License: Apache-2.0
AutoReqProv: no
{fields}
%description
The lab's stand-in for {name}.
%install
cp -a {root}/. %{{buildroot}}/
{scripts}
%files
{files}
"""


class Rpm(NamedTuple):
    """A package: `files` are texts or bytes by path, `tree` is a folder to copy, `scripts` are rpm's (post)."""

    name: str
    version: str
    release: str
    epoch: str = ""
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    files: dict | None = None
    scripts: dict | None = None
    tree: Path | None = None

    @property
    def evr(self) -> str:
        """Return epoch, version and release as rpm compares them."""
        return f"{self.epoch}:{self.version}-{self.release}" if self.epoch else f"{self.version}-{self.release}"

    @property
    def nevra(self) -> str:
        """Return the name of the package's artifact in a module stream."""
        return f"{self.name}-{self.epoch or 0}:{self.version}-{self.release}.x86_64"


def build(folder: Path, package: Rpm) -> Rpm:
    """Build NAME-VERSION-RELEASE.x86_64.rpm into `folder`, and return the package."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as aside:
        root = Path(aside, "root")
        if package.tree:
            shutil.copytree(package.tree, root, symlinks=True)
        root.mkdir(exist_ok=True)
        for path, content in (package.files or {}).items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
            target.chmod(0o755 if "/bin/" in path else 0o644)
        spec = Path(aside, "package.spec")
        spec.write_text(text(package, root))
        top = Path(aside, "top")
        run("rpmbuild", "-bb", "--quiet", "--target", "x86_64", "--define", f"_topdir {top}", spec)
        for made in top.glob("RPMS/*/*.rpm"):
            shutil.copy(made, folder)
    return package


def text(package: Rpm, root: Path) -> str:
    """Return the spec file."""
    fields = [f"Requires: {each}" for each in package.requires]
    fields += [f"Provides: {each}" for each in package.provides]
    fields += [f"Conflicts: {each}" for each in package.conflicts]
    paths = sorted(root.rglob("*"))
    content = [path for path in paths if path.is_symlink() or path.is_file()]
    # A package owns the folders that no host has without it.
    new = [path for path in paths if path not in content and not Path("/", path.relative_to(root)).exists()]
    listed = [f'%dir "/{path.relative_to(root)}"' for path in new]
    listed += [f'"/{path.relative_to(root)}"' for path in content]
    return SPEC.format(
        name=package.name,
        version=package.version,
        release=package.release,
        epoch=f"Epoch: {package.epoch}\n" if package.epoch else "",
        fields="".join(f"{line}\n" for line in fields),
        root=root,
        scripts="\n".join(f"%{name}\n{body}" for name, body in (package.scripts or {}).items()),
        files="\n".join(listed),
    )


def run(*command, **options) -> bytes:
    """Run a program and return its output. Raises CalledProcessError."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, **options).stdout


def publish(folder: Path, key: str, modules: str = "") -> None:
    """Sign the packages, write the repository's metadata with its module streams, and sign that."""
    found = sorted(folder.glob("*.rpm"))
    run("rpmsign", "--addsign", "--define", f"_gpg_name {key}", *found)
    run("createrepo_c", "--quiet", folder)
    if modules:
        with tempfile.TemporaryDirectory() as aside:
            path = Path(aside, "modules.yaml")
            path.write_text(modules)
            run("modifyrepo_c", "--mdtype=modules", path, folder / "repodata")
    repomd = folder / "repodata/repomd.xml"
    run("gpg", "--batch", "--yes", "--local-user", key, "--armor", "--detach-sign", repomd)


def make_key(name: str) -> str:
    """Create a signing key, and return its fingerprint."""
    run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", f"{name} <lab@localhost>", "rsa3072", "sign", "0")
    listed = run("gpg", "--with-colons", "--list-keys", name).decode()
    return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))


def exported(key: str) -> bytes:
    """Return a public key."""
    return run("gpg", "--armor", "--export", key)
