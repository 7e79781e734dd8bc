"""Choose the packages that a teardown removes: those of the receipt, but Docker only if no other containers use it."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import RoundhouseError
from ..host import dnf, docker, packages
from ..host.dpkg import APT, DNF, KERNEL_MODULES, Packages
from ..host.receipt import Receipt
from ..util import process

DOCKER = ("docker-ce", "docker.io", "moby-engine")
# Services that stay enabled after some packages are purged.
SERVICES = ("nvidia-cdi-refresh.path", "nvidia-cdi-refresh.service", "nvidia-persistenced.service")
_DOCKER_SILENT = (
    "Docker does not answer, so its containers are unknown: run `systemctl start docker`, or set "
    "teardown_packages: false."
)
# Packages that only these needed stay, because the owner may use them since.
_REMOVE = {
    APT: ["apt-get", "purge", "--assume-yes", "--option=DPkg::Lock::Timeout=600"],
    DNF: ["dnf", "remove", "--assumeyes", "--setopt=clean_requirements_on_remove=False"],
}
_REMOVED = re.compile(r"^(?:Remv|Purg) (\S+)", re.MULTILINE)


class Choice(NamedTuple):
    """The choice for the packages of the receipt."""

    brought: list[str]  # packages to remove, including those that a killed teardown has already removed
    installed: list[str]  # those of `brought` that are installed
    removes_docker: bool
    foreign: list[str] | None  # other containers and volumes; None if Docker does not answer
    kept: list[str]  # sentences
    problems: list[str]  # sentences

    @property
    def services(self) -> list[str]:
        """Return the services that the removal may leave enabled."""
        return [unit for unit in SERVICES if packages.owner(f"*/systemd/system/{unit}") in self.installed]

    @property
    def command(self) -> list[str]:
        """Return the command that removes the packages."""
        return [*_REMOVE[packages.manager()], *self.installed]

    def owns(self, account: str) -> bool:
        """Return true if one of the packages created the user and group."""
        return any(name.startswith(account) or (account == "docker" and name in DOCKER) for name in self.brought)


def choose(there: Packages, receipt: Receipt, *, remove: bool) -> Choice:
    """Return the packages of the receipt to remove; with `remove` false none."""
    brought, kept = list(receipt.packages) if remove else [], []
    if receipt.packages and not remove:
        kept.append("The packages are kept, because teardown_packages is false.")
    if any(map(KERNEL_MODULES.match, brought)):  # kernel updates have installed the modules of later kernels
        brought += [name for name in there.versions if KERNEL_MODULES.match(name) and name not in brought]
    has_docker = any(name in brought and name in there.versions for name in DOCKER)
    foreign = _foreign() if has_docker else []
    if foreign:
        brought = [name for name in brought if not name.startswith(("docker", "containerd", "moby", "runc"))]
        kept.append(f"Docker and its repository are kept, because others use Docker: {', '.join(foreign)}.")
    installed = [name for name in brought if name in there.versions]
    # An engine of another package that was installed later uses Docker's folders.
    other_engine = any(name in there.versions and name not in installed for name in DOCKER)
    return Choice(
        brought=brought,
        installed=installed,
        removes_docker=any(name in brought for name in DOCKER) and not other_engine,
        foreign=foreign,
        kept=kept,
        problems=[_DOCKER_SILENT] if foreign is None else _problems(installed, there),
    )


def _foreign() -> list[str] | None:
    found = docker.contents()
    return None if found is None else [name for name in found if not name.startswith("roundhouse-")]


def _problems(names: list[str], there: Packages) -> list[str]:
    others = sorted(set(_removed_with(names, there.manager)) - set(names))
    if not others:
        return []
    return [
        f"{there.manager} would also remove {', '.join(others)}, which depends on a package that Roundhouse installed. "
        "Remove it first, or set teardown_packages: false."
    ]


def _removed_with(names: list[str], manager: str) -> list[str]:
    """Return every package that would be removed together with these. Raises RoundhouseError."""
    if not names:
        return []
    if manager == DNF:
        if (found := dnf.removals(names)) is None:
            raise RoundhouseError(
                "removal_not_simulated",
                "{manager} failed to simulate the removal: {output}.",
                "Repair it (`dnf check`), then run the teardown again.",
                manager=manager,
                output=f"dnf remove {' '.join(names)}",
            )
        return found
    command = ["apt-get", "--simulate", "purge", "--option", "APT::Get::AutomaticRemove=false", *names]
    done = process.run(command)
    if done.returncode != 0:
        raise RoundhouseError(
            "removal_not_simulated",
            "{manager} failed to simulate the removal: {output}.",
            "Repair it (`apt-get check`), then run the teardown again.",
            manager=manager,
            output=done.stderr.strip().rstrip("."),
        )
    return _REMOVED.findall(done.stdout)
