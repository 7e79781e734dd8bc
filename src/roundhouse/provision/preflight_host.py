"""Check the host itself for the preflight table. Nothing is changed.

A problem ends the run. A warning does not, because the reported state may be intended.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..agents import gpu_memory
from ..host import dpkg, driver, gpu_problem, gpu_process, receipt, system
from ..host.dpkg import Packages
from ..host.driver import Facts
from ..host.system import System
from ..util.units import GIB
from .preflight_row import Row

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import RequiredModel
    from roundhouse.schema.plan import Agent

# Source lists from older instructions of NVIDIA and Docker, whose keys are in other paths than the roles' keys.
_OLD_LISTS = ("nvidia-docker.list", "nvidia-container-runtime.list", "libnvidia-container.list")
_ENGINES = ("docker-ce", "docker.io", "podman-docker", "moby-engine")


class Wanted(NamedTuple):
    """The plan's agents, the hub's models that they need (lock.required_models), and the host's settings."""

    agents: list[Agent]
    required_models: list[RequiredModel]
    accelerator: str
    engine_path: str
    engine_python: str
    quantize_path: str
    models_store: str
    gateway_port: int | None = None  # None without a gateway
    image: str | None = None  # an image with the engine; None if the engine is an environment on the host
    runtime: str = "native"  # or compose

    @property
    def on_gpu(self) -> bool:
        """Return true if the engine runs on a GPU."""
        return self.accelerator == "cuda"


def rows(facts: Facts, packages: Packages, wanted: Wanted, root: Path = Path("/")) -> list[Row]:
    """Return the rows of the host: system, kernel, memory, cards, and packages of others."""
    on = system.inspect(root)
    found = [_system(on, wanted, root), _kernel(facts), _memory(root)]
    if system.has_dnf(root):
        found.append(_selinux(root))
    if wanted.on_gpu:
        found += [_cards(facts, supported=is_supported(on, wanted)), _secure_boot(facts), _users(facts)]
    return [*found, _foreign(packages, root)]


def is_supported(on: System, wanted: Wanted) -> bool:
    """Return true if Roundhouse supports the system, so that further findings apply."""
    return system.problem(on, wanted.accelerator) is None


def _system(on: System, wanted: Wanted, root: Path) -> Row:
    found = f"{on.name}, {on.architecture}" + (f", {on.kind}" if on.kind else "")
    if unsupported := system.problem(on, wanted.accelerator):
        return Row("system", found, [unsupported])
    problems = []
    if wanted.image is None and (on.architecture != system.NATIVE_ARCHITECTURE or system.has_dnf(root)):
        problems.append(_no_lock(on, wanted))
    if not (root / "run/systemd/system").is_dir():
        problems.append("This host does not run systemd, which Roundhouse needs as init.")
    program = "dnf" if system.has_dnf(root) else "apt-get"
    if not any((root / place / program).exists() for place in ("usr/bin", "bin")):
        problems.append(f"This host has no {program}, which Roundhouse needs to install packages.")
    return Row("system", found, problems)


def _no_lock(on: System, wanted: Wanted) -> str:
    """Return the sentence for an engine outside an image, whose locks are for one architecture, Debian and Ubuntu."""
    setting, remedy = "agents_runtime is native", "agents_runtime: compose"
    if wanted.runtime == "compose":
        setting, remedy = "container_image_source is build", "container_image_source: registry"
    lacks = on.architecture if on.architecture != system.NATIVE_ARCHITECTURE else on.release
    return f"{setting}, but the locked engine does not support {lacks}. Set {remedy}."


def _kernel(facts: Facts) -> Row:
    after = f"; {facts.next_kernel} after a reboot" if facts.next_kernel != facts.kernel else ""
    return Row("kernel", facts.kernel + after)


def _memory(root: Path) -> Row:
    lines = (root / "proc/meminfo").read_text().splitlines()
    kib = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return Row(
        "memory", f"{kib['MemTotal'] * 1024 / GIB:.1f} GiB, {kib['MemAvailable'] * 1024 / GIB:.1f} GiB available"
    )


def _cards(facts: Facts, *, supported: bool) -> Row:
    named = [
        f"10de:{card['device_id']} {card['name'] or card['architecture'] or 'newer than the table'}"
        + ("" if card["memory_gib"] is None else f", {card['memory_gib']:.1f} GiB")
        for card in facts.gpus
    ]
    problem = (
        "engine_accelerator is cuda, but the PCI bus has no NVIDIA GPU: check that the card is seated, "
        "or set engine_accelerator: cpu in the inventory."
    )
    unusable = [str(why) for card in facts.gpus if (why := gpu_problem.of(card))]
    return Row("cards", "; ".join(named) or "none", [] if named or not supported else [problem], unusable)


def _selinux(root: Path) -> Row:
    """Return the row of SELinux, under which no run was tested."""
    path = root / "sys/fs/selinux/enforce"
    mode = {"1": "enforcing", "0": "permissive"}.get(path.read_text().strip()) if path.exists() else "off"
    warning = (
        "SELinux is enforcing, and Roundhouse was not tested with it: if a service fails, read `ausearch -m AVC` and "
        "docs/explanation/gpu-host.md."
    )
    return Row("SELinux", mode or "unknown", warnings=[warning] if mode == "enforcing" else [])


def _secure_boot(facts: Facts) -> Row:
    return Row("Secure Boot", {True: "on", False: "off", None: "not reported by the firmware"}[facts.secure_boot])


def _users(facts: Facts) -> Row:
    """Return the row of processes on the cards, except vLLM's."""
    warnings = []
    for card in facts.gpus:
        desktop = [each for each in card["processes"] or [] if gpu_process.is_desktop(each["kinds"], each["name"])]
        for process in card["processes"] or []:
            name = process["name"] or "a process"
            if process in desktop:
                continue
            if "vllm" not in name.lower():
                uses = "memory" if process["gib"] is None else f"{process['gib']:.1f} GiB"
                cure = f" {gpu_memory.OLLAMA_CURE}" if gpu_memory.is_ollama(name) else ""
                warnings.append(
                    f"{name} (pid {process['pid']}) uses {uses} of card {card['address']}, which agents lack.{cure}"
                )
        if card["display_active"] or desktop:
            named = ", ".join(dict.fromkeys(gpu_process.program(each["name"]) or "a process" for each in desktop))
            held = sum(each["gib"] or 0.0 for each in desktop)
            uses = f"A desktop ({named}) uses {held:.1f} GiB" if desktop else "A display uses some memory"
            warnings.append(f"{uses} of card {card['address']}; the plan leaves memory for it.")
    known = [card["used_gib"] for card in facts.gpus if card["used_gib"] is not None]
    used = ", ".join(f"{value:.1f} GiB in use" for value in known) or "unknown until a driver is loaded"
    return Row("users of the cards", used, warnings=warnings)


def _foreign(packages: Packages, root: Path) -> Row:
    lists = [name for name in _OLD_LISTS if (root / "etc/apt/sources.list.d" / name).exists()]
    others = [] if (root / driver.OURS.relative_to("/")).exists() else packages.drivers
    engines = [name for name in _ENGINES if name in packages.versions and name not in receipt.load().packages]
    found = [f"{name} {packages.versions[name]}" for name in [*others[:1], *engines]]
    warnings = [
        f"/etc/apt/sources.list.d/{name} is from older instructions for the container toolkit: remove it if apt "
        "reports conflicting values for Signed-By."
        for name in lists
    ]
    failed = _failed(packages)
    problems = [
        f"dpkg did not complete the installation of {name}. Run `dpkg --configure {name}`, or remove the package."
        for name in failed
    ]
    if ours := [name for name in packages.broken if name not in failed]:
        warnings.append(f"Partly installed: {', '.join(ours)}. The roles complete the installation.")
    return Row("packages of others", ", ".join([*found, *lists]) or "none", problems, warnings)


def _failed(packages: Packages) -> list[str]:
    """Return the packages of others that a repair by the roles would fail on.

    A killed run leaves packages of its own in the same state. The receipt has them, except driver packages that the run
    upgraded.
    """
    if not packages.failed:
        return []
    own = receipt.load().packages
    return [name for name in packages.failed if name not in own and not dpkg.DRIVER.match(name)]
