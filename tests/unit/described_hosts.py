"""Describe hosts for preflight: a tree of files, a listing of packages, and the answers of Docker, systemd and NVML."""

import json
import shutil
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from role_vars import question

from roundhouse.provision import component_options, preflight_components

NOTHING = MappingProxyType({})
AMD64, ARM64 = "x86_64", "aarch64"
# Name -> os-release, and the facts of Ansible's setup that the roles' tables use.
RELEASES = {
    "Debian 11": ("debian", "11", "Debian GNU/Linux 11 (bullseye)", "Debian", "bullseye"),
    "Debian 12": ("debian", "12", "Debian GNU/Linux 12 (bookworm)", "Debian", "bookworm"),
    "Debian 13": ("debian", "13", "Debian GNU/Linux 13 (trixie)", "Debian", "trixie"),
    "Ubuntu 22.04": ("ubuntu", "22.04", "Ubuntu 22.04.5 LTS", "Ubuntu", "jammy"),
    "Ubuntu 24.04": ("ubuntu", "24.04", "Ubuntu 24.04.3 LTS", "Ubuntu", "noble"),
    "Ubuntu 26.04": ("ubuntu", "26.04", "Ubuntu 26.04 LTS", "Ubuntu", "resolute"),
    "RHEL 9": ("rhel", "9.6", "Red Hat Enterprise Linux 9.6 (Plow)", "RedHat", "Plow"),
    "RHEL 10": ("rhel", "10.1", "Red Hat Enterprise Linux 10.1 (Coughlan)", "RedHat", "Coughlan"),
    "Rocky 8": ("rocky", "8.10", "Rocky Linux 8.10 (Green Obsidian)", "Rocky", "Green Obsidian"),
    "Rocky 9": ("rocky", "9.7", "Rocky Linux 9.7 (Blue Onyx)", "Rocky", "Blue Onyx"),
    "AlmaLinux 10": ("almalinux", "10.1", "AlmaLinux 10.1 (Heliotrope Lion)", "AlmaLinux", "Heliotrope Lion"),
    "Arch": ("arch", "", "Arch Linux", "Archlinux", ""),
}
DOCKER_CE = ("docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "docker-compose-plugin")
TOOLKIT = ("nvidia-container-toolkit", "nvidia-container-toolkit-base", "libnvidia-container-tools")
TOOLKIT += ("libnvidia-container1",)
# As `dpkg-query --show` prints fields of a package; the fields that a host does not describe are empty.
DPKG_QUERY = """#!{python}
import json, re, sys
form = next(word.partition("=")[2] for word in sys.argv if word.startswith("--showformat"))
for fields in json.load(open({listing!r})):
    line = re.sub(r"\\$\\{{([^}}]+)\\}}", lambda found: fields.get(found[1], ""), form)
    sys.stdout.write(line.replace("\\\\t", "\\t").replace("\\\\n", "\\n"))
"""
RPM = """#!/bin/sh
case "$*" in
*--all*) cat {listing} ;;
*) exit 1 ;;
esac
"""
DNF = """#!/bin/sh
case "$*" in
*repoquery*) cat {offers} ;;
*) exit 1 ;;
esac
"""
RED_HAT = ("RedHat", "Rocky", "AlmaLinux")
DOCKER = """#!/bin/sh
case "$*" in
version*) echo {version} ;;
"compose version"*) echo 2.40.0 ;;
ps*Status*) printf 'web\\tUp 2 days\\n' ;;
ps*) echo web ;;
"info --format {{{{json .}}}}") echo '{info}' ;;
info*) echo /var/lib/docker ;;
image*) echo sha256:00 ;;
*) exit 1 ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
for unit in "$@"; do
case $unit in
*.service) printf 'Id=%s\\nLoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n\\n' "$unit" ;;
esac
done
"""


class Described(NamedTuple):
    """A host: its release and differences from a bare host with one card; `settings` are those of the inventory."""

    release: str
    architecture: str = AMD64
    kernel: str | None = None
    card: str | None = "2d04"
    card_driver: str | None = None
    second: str | None = None  # another card
    second_driver: str | None = None
    packages: Mapping = NOTHING
    states: Mapping = NOTHING  # package -> dpkg's status letters; the default is installed
    docker: str | None = None  # the version of the engine that answers
    loaded: str | None = None  # the version of the loaded driver, which NVML reports
    nvml: tuple = ()
    files: Mapping = NOTHING  # path -> content
    offers: Mapping = MappingProxyType({"dkms": "3.2.2-1"})  # what dnf's repositories offer
    secure_boot: bool | None = None
    settings: Mapping = NOTHING

    def facts(self):
        """Return the facts of Ansible's setup."""
        _, version, _, distribution, codename = RELEASES[self.release]
        return {
            "distribution": distribution,
            "distribution_version": version,
            "distribution_major_version": version.partition(".")[0],
            "distribution_release": codename,
            "os_family": "RedHat" if distribution in RED_HAT else {"Ubuntu": "Debian"}.get(distribution, distribution),
            "architecture": self.architecture,
            "pkg_mgr": "dnf" if distribution in RED_HAT else "apt",
        }

    def asked(self):
        """Return what the roles ask, as Ansible templates it and the module accepts it."""
        given = {"engine_accelerator": "cuda", "agents_runtime": "compose", **self.settings}
        given |= dict.fromkeys(
            ("container_engine_runtime", "nvidia_container_toolkit_runtime"), given["agents_runtime"]
        )
        roles = {"driver": "nvidia_driver", "engine": "container_engine", "toolkit": "nvidia_container_toolkit"}
        found = {name: question(role, self.facts(), **given) for name, role in roles.items()}
        accepted = ArgumentSpecValidator(component_options.OPTIONS).validate(
            {name: pair[0] for name, pair in found.items()}
        )
        assert accepted.error_messages == []
        return preflight_components.Asked(
            accepted.validated_parameters, {name: sources for name, (_, sources) in found.items()}
        )

    def write(self, machine, programs):
        """Write the tree below the machine's root and the programs into the folder `programs`."""
        system_id, version, name, *_ = RELEASES[self.release]
        machine.write("etc/os-release", f'ID={system_id}\nVERSION_ID="{version}"\nPRETTY_NAME="{name}"\n')
        machine.write("proc/meminfo", "MemTotal: 33554432 kB\nMemFree: 1 kB\nMemAvailable: 16777216 kB\n")
        machine.write("usr/bin/dnf" if self.facts()["pkg_mgr"] == "dnf" else "usr/bin/apt-get", "")
        (machine.root / "run/systemd/system").mkdir(parents=True)
        if self.kernel:
            shutil.rmtree(machine.root / "lib/modules")
            machine.write("proc/sys/kernel/osrelease", self.kernel + "\n")
            machine.kernel(self.kernel)
        machine.remove_card()
        if self.card:
            machine.card(self.card, driver=self.card_driver)
        if self.second:
            machine.card(self.second, address="0000:02:00.0", driver=self.second_driver)
        if self.loaded:
            machine.module(self.loaded, kernel=self.kernel or machine.running)
            machine.load(self.loaded, device=self.card)
        if self.secure_boot is not None:
            machine.secure_boot(self.secure_boot)
        for path, content in self.files.items():
            machine.write(path, content)
        self._write_programs(programs)

    def _write_programs(self, folder):
        folder.mkdir()
        listing = folder / "listing.json"
        listing.write_text(json.dumps([self._package(name) for name in {**self.packages, **self.states}]))
        rpms, offers = folder / "rpms", folder / "offers"
        rpms.write_text("".join(f"{name}\t{version}\n" for name, version in self.packages.items()))
        offers.write_text("".join(f"{name}\t{each}\t{name}-{each}.x86_64\n" for name, each in self.offers.items()))
        programs = {
            "rpm": RPM.format(listing=rpms),
            "dnf": DNF.format(offers=offers),
            "dpkg-query": DPKG_QUERY.format(python=sys.executable, listing=str(listing)),
            "systemctl": SYSTEMCTL,
            "apt-cache": "#!/bin/sh\nexit 100\n",  # no index
            "docker": "#!/bin/sh\nexit 1\n",
            "nvidia-ctk": "#!/bin/sh\nexit 1\n",
        }
        if self.docker:
            info = json.dumps({"ServerVersion": self.docker, "CDISpecDirs": ["/etc/cdi"], "Runtimes": {"runc": {}}})
            programs["docker"] = DOCKER.format(version=self.docker, info=info)
        for name, text in programs.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def _package(self, name):
        version = self.packages.get(name, "1")
        fields = {"binary:Package": name, "Package": name, "Version": version}
        depends = f"linux-image-{self.kernel}" if name.startswith("linux-image-") else ""
        return {**fields, "db:Status-Abbrev": self.states.get(name, "ii "), "Depends": depends}
