"""The answers of dnf 4 are parsed as it prints them, its repositories have a verified key, its locks are waited for."""

import json
import os
import stat

import pytest

from roundhouse.errors import RoundhouseError
from roundhouse.host import apt_get, dnf, dnf_repositories, dpkg, openpgp, packages, proxy, receipt, rpm
from roundhouse.host.dnf_repositories import Repository
from roundhouse.provision import dnf_files, host_files

# Of `rpm --query --all`: a kernel has two versions, and a key is listed as a package.
LISTED = (
    "gpg-pubkey\ta3024682-6b0dc9d1\nkernel-core\t5.14.0-611.5.1.el9_7\nkernel-core\t5.14.0-611.9.1.el9_7\n"
    "nvidia-driver-cuda\t3:580.173.02-1.el9\nkmod-nvidia-open-dkms\t3:580.173.02-1.el9\n"
)
# Of dnf 4.23 with --assumeno. A long name is alone on its line.
INSTALLATION = """\
Last metadata expiration check: 0:00:05 ago on Mon Nov 30 19:12:01 2026.
Dependencies resolved.
================================================================================
 Package                  Arch    Version              Repository          Size
================================================================================
Installing:
 kmod-nvidia-open-dkms    x86_64  3:580.173.02-1.el9   roundhouse-nvidia  7.8 k
Upgrading:
 gcc                      x86_64  15-1.el9             BaseOS              71 k
Installing dependencies:
 kernel-devel             x86_64  5.14.0-611.9.1.el9   BaseOS              71 k
 nvidia-driver-cuda-libs-with-a-long-name
                          x86_64  3:580.173.02-1.el9   roundhouse-nvidia   13 k

Transaction Summary
================================================================================
Install  3 Packages
Upgrade  1 Package

Operation aborted.
"""
REMOVAL = """\
Dependencies resolved.
================================================================================
 Package                  Arch    Version              Repository          Size
================================================================================
Removing:
 dkms                     x86_64  3.2.2-1.el9          @epel               71 k
Removing dependent packages:
 kmod-other               x86_64  1-1.el9              @mine               71 k

Transaction Summary
================================================================================
Remove  2 Packages

Operation aborted.
"""
DOCKER = """\
[docker-ce-stable]
name=Docker CE Stable - $basearch
baseurl=https://download.docker.com/linux/centos/$releasever/$basearch/stable
enabled={enabled}
gpgcheck=1
gpgkey=https://download.docker.com/linux/centos/gpg

[docker-ce-test]
baseurl=https://download.docker.com/linux/centos/$releasever/$basearch/test
enabled=0
"""
# A public-key packet of version 4 (RFC 4880); no signature is made with it.
PACKET = b"\xc6\x06\x04\x00\x00\x00\x00\x01"
KEY = openpgp.armoured([openpgp.Packet(PACKET[0] & 0x3F, b"", PACKET)])
SOURCE = Repository("roundhouse-docker", "https://download.docker.com/linux/centos/9/x86_64/stable")


class Host:
    """A host with a program dnf that records its calls, and prints and returns what the test sets."""

    def __init__(self, root):
        self.root, self.log = root, root / "calls"
        self.answers = {}
        (root / "bin").mkdir()
        self.program("rpm", "exit 1")
        self.program("rpmkeys", "exit 0")
        self.answer()

    def program(self, name, body):
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def answer(self, text="", *, status=0):
        (self.root / "answer").write_text(text)
        record = f'echo "$*" >>{self.log}; env | grep -i ^https_proxy= >{self.root}/environment'
        self.program("dnf", f"status={status}; {record}; cat {self.root}/answer; exit $status")

    def calls(self):
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def host(tmp_path, monkeypatch):
    made = Host(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(dnf, "STREAMS", tmp_path / "modules.d")
    monkeypatch.setattr(dnf_repositories, "FOLDER", tmp_path / "yum.repos.d")
    monkeypatch.setattr(dnf_repositories, "KEYS", tmp_path / "keys")
    monkeypatch.setattr(dnf_repositories, "RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(dnf_repositories, "VARIABLES", (tmp_path / "vars",))
    monkeypatch.setattr(dnf_repositories.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(receipt, "PATH", tmp_path / "receipt.json")
    monkeypatch.setattr(proxy, "PATH", tmp_path / "proxy.env")
    for folder in ("yum.repos.d", "vars", "modules.d"):
        (tmp_path / folder).mkdir()
    (tmp_path / "os-release").write_text('ID="rocky"\nVERSION_ID="9.7"\n')
    return made


def stream(host, name):
    text = f"[nvidia-driver]\nname=nvidia-driver\nstream={name}\nprofiles=\nstate=enabled\n"
    (host.root / "modules.d/nvidia-driver.module").write_text(text)


def test_the_packages_of_rpm_are_listed_without_keys():
    found = rpm.parse(LISTED)
    assert found.versions["nvidia-driver-cuda"] == "3:580.173.02-1.el9"
    assert "gpg-pubkey" not in found.versions
    assert found.drivers == ["kmod-nvidia-open-dkms", "nvidia-driver-cuda"]
    assert (found.manager, found.holds, found.remove) == ("dnf", False, "dnf remove")


@pytest.mark.parametrize(
    ("system_id", "manager"), [("rhel", "dnf"), ("rocky", "dnf"), ("almalinux", "dnf"), ("debian", "apt"), ("x", "apt")]
)
def test_os_release_selects_the_package_manager(tmp_path, monkeypatch, system_id, manager):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(f"ID={system_id}\nVERSION_ID=9.7\n")
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    assert packages.manager() == manager


def test_the_table_of_an_installation_lists_new_packages_alone():
    wanted = ["kmod-nvidia-open-dkms", "kernel-devel", "nvidia-driver-cuda-libs-with-a-long-name"]
    assert dnf.parse_transaction(INSTALLATION, "Installing") == wanted
    assert dnf.parse_transaction(REMOVAL, "Removing") == ["dkms", "kmod-other"]


def test_a_candidate_is_found_by_name_and_by_name_with_version():
    kernel = "kernel-devel-5.14.0-611.5.1.el9_7.x86_64"
    output = f"dkms\t3.2.2-1.el9\tdkms-3.2.2-1.el9.x86_64\nkernel-devel\t5.14.0-611.5.1.el9_7\t{kernel}\n"
    found = dnf.parse_candidates(output, ["dkms", kernel, "absent"])
    assert found == {"dkms": "3.2.2-1.el9", kernel: "5.14.0-611.5.1.el9_7"}


def test_the_candidates_are_unknown_if_dnf_fails(host):
    host.answer(status=1)
    assert dnf.candidates(["dkms"]) is None


def test_another_stream_is_reset_before_the_wanted_one_is_enabled(host):
    assert dnf.enable_stream("nvidia-driver:580-open", ["roundhouse-nvidia"])
    stream(host, "580-open")
    assert not dnf.enable_stream("nvidia-driver:580-open")
    assert dnf.enable_stream("nvidia-driver:595-open", ["roundhouse-nvidia"])
    ends = [call.partition("install_weak_deps=False ")[2] for call in host.calls()]
    assert ends == [
        "--enablerepo=roundhouse-nvidia module enable nvidia-driver:580-open",
        "module reset nvidia-driver",
        "--enablerepo=roundhouse-nvidia module enable nvidia-driver:595-open",
    ]
    assert dnf.has_stream("nvidia-driver:580-open")
    assert dnf.has_stream("")
    assert not dnf.has_stream("nvidia-driver:595-open")


def test_a_lock_of_dnf_is_waited_for(host):
    host.answer(f"metadata already locked by {os.getpid()}\n", status=200)
    with pytest.raises(RoundhouseError) as raised:
        dnf.run("makecache")
    assert raised.value.code == "dnf_locked"
    assert f"(pid {os.getpid()}) locks metadata of dnf" in raised.value.message
    told = []

    def call():
        if told:
            host.answer()
        return dnf.run("makecache").returncode

    assert apt_get.wait(call, told.append, seconds=0.5) == 0
    assert len(told) == 1


def test_an_error_has_dnfs_own_reason(host):
    host.answer("Last metadata expiration check: 0:00:02 ago.\nError: Unable to find a match: nothing\n", status=1)
    with pytest.raises(RoundhouseError, match=r"dnf failed to install nothing: Unable to find a match: nothing\."):
        dnf.install(["nothing"])


@pytest.mark.parametrize(("enabled", "adopted"), [(1, True), (0, False)])
def test_an_enabled_repository_of_the_owner_is_adopted(host, enabled, adopted):
    path = host.root / "yum.repos.d/docker-ce.repo"
    path.write_text(DOCKER.format(enabled=enabled))
    (host.root / "yum.repos.d/broken.repo").write_text("baseurl=x\n")
    assert dnf_repositories.existing(SOURCE) == ((path, "docker-ce-stable") if adopted else None)


def test_the_owners_variables_are_expanded(host):
    (host.root / "vars/mirror").write_text("mirror.example\n")
    assert dnf_repositories.expand("https://$mirror/${releasever}/$basearch/$other") == (
        "https://mirror.example/9/x86_64/$other"
    )


@pytest.fixture
def wanted(host):
    """Return the options of a repository whose key has the pinned fingerprint."""
    (host.root / "vendor.asc").write_text(KEY)
    (fingerprint,) = openpgp.fingerprints(openpgp.packets(KEY.encode()))
    options = {"signed_packages": True, "signed_metadata": False, "held": True, "refresh": False}
    key = {"key_url": f"file://{host.root}/vendor.asc", "fingerprint": fingerprint}
    return {"name": "roundhouse-nvidia", "uri": "https://vendor.example/rhel9", **key, **options}


def test_a_repository_is_installed_with_a_file_of_its_verified_key(host, wanted):
    done = host_files.put_dnf_repository(wanted, check=False)
    assert (done["changed"], done["adopted"], done["enable"]) == (True, False, ["roundhouse-nvidia"])
    text = (host.root / "yum.repos.d/roundhouse-nvidia.repo").read_text()
    assert f"gpgkey=file://{host.root}/keys/RPM-GPG-KEY-roundhouse-nvidia\n" in text
    assert "enabled=0\ngpgcheck=1\nrepo_gpgcheck=0\n" in text
    assert not host_files.put_dnf_repository(wanted, check=False)["changed"]


def test_a_repository_with_another_key_is_refused(host, wanted):
    with pytest.raises(RoundhouseError) as raised:
        host_files.put_dnf_repository({**wanted, "fingerprint": "0" * 40}, check=False)
    assert raised.value.code == "key_not_pinned"
    assert not list((host.root / "yum.repos.d").iterdir())


def test_a_repository_that_dnf_refuses_is_not_installed(host, wanted):
    host.answer("Error: repomd.xml GPG signature verification error: Bad GPG signature\n", status=1)
    with pytest.raises(RoundhouseError, match="Bad GPG signature"):
        host_files.put_dnf_repository(wanted, check=False)
    assert not list((host.root / "yum.repos.d").iterdir())


def test_a_repository_of_the_owner_replaces_the_roles(host, wanted):
    host_files.put_dnf_repository(wanted, check=False)
    (host.root / "yum.repos.d/cuda-rhel9.repo").write_text("[cuda]\nbaseurl=https://vendor.example/rhel9/\n")
    done = host_files.put_dnf_repository(wanted, check=False)
    assert (done["changed"], done["adopted"], done["enable"]) == (True, True, [])
    assert [path.name for path in (host.root / "yum.repos.d").iterdir()] == ["cuda-rhel9.repo"]


def test_only_a_newly_imported_key_is_in_the_receipt(host, wanted):
    # The key is listed once rpmkeys has imported it. rpm 4 names it by the end of its fingerprint.
    short = wanted["fingerprint"][-8:].lower()
    host.program("rpmkeys", f"touch {host.root}/imported")
    host.program("rpm", f"test -e {host.root}/imported && echo gpg-pubkey-{short}-6b0dc9d1 {short}")
    host_files.put_dnf_repository(wanted, check=False)
    assert receipt.load().keys == [f"gpg-pubkey-{short}-6b0dc9d1"]
    receipt.PATH.unlink()
    host_files.put_dnf_repository(wanted, check=False)
    assert receipt.load().keys == []


def test_an_installation_records_new_names_first(host):
    listing = host.root / "listing"
    listing.write_text("kernel-devel\t5.14.0-611.5.1.el9_7\n")
    host.program("rpm", f"cat {listing}")
    host.answer(INSTALLATION)
    options = {
        "install": ["kmod-nvidia-open-dkms"],
        "repositories": ["roundhouse-nvidia"],
        "stream": "",
        "erase": False,
        "index": False,
    }
    assert host_files.install_by_dnf(options, check=True) == {"changed": True}
    assert host.calls() == []
    assert host_files.install_by_dnf(options, check=False) == {"changed": True}
    # The name of a kernel's package would remove the owner's version too.
    recorded = json.loads(receipt.PATH.read_text())["packages"]
    assert recorded == ["kmod-nvidia-open-dkms", "nvidia-driver-cuda-libs-with-a-long-name"]
    assert host.calls()[-1].endswith("--enablerepo=roundhouse-nvidia install kmod-nvidia-open-dkms")


def test_the_proxy_with_its_password_reaches_dnf(host, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    text = proxy.files("http://me:secret@proxy.lan:3128")[str(proxy.PATH)]["content"]
    (host.root / "proxy.env").write_text(text)
    host.program("rpm", "exit 0")
    wanted = {"install": [], "repositories": [], "stream": "", "erase": False, "index": False}
    before = dict(os.environ)
    for changes in ({"install": ["x"]}, {"index": True}):
        monkeypatch.setattr(os, "environ", dict(before))
        (host.root / "environment").unlink(missing_ok=True)
        dnf_files.install_packages({**wanted, **changes}, check=False)
        assert "https_proxy=http://me:secret@proxy.lan:3128" in (host.root / "environment").read_text()
    assert host.calls()[-1].endswith("makecache")
    assert not any("secret" in call for call in host.calls())


def test_dpkg_and_rpm_list_drivers_by_one_expression():
    for name in ("akmod-nvidia", "xorg-x11-drv-nvidia-cuda", "nvidia-kmod-common", "nvidia-persistenced"):
        assert dpkg.DRIVER.match(name)
    for name in ("nvidia-container-toolkit", "libnvidia-container1", "kmod-kvdo"):
        assert not dpkg.DRIVER.match(name)
