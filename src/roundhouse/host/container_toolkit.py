"""Inspect the NVIDIA container toolkit, and choose the action of the role nvidia_container_toolkit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..util import process
from . import container_engine, docker, docker_config, receipt
from .container_engine import Engine
from .dpkg import Packages
from .problem import Problem

# All four must be of one release: an older toolkit often fails with a newer library.
PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
# The first release whose nvidia-cdi-refresh waits for the driver; CVE-2024-0132 is fixed since 1.16.2.
MINIMUM = "1.18.2"
_BY_HAND = 'set "features": {"cdi": true} in /etc/docker/daemon.json and restart Docker when its containers may stop'
RUNTIME = {"nvidia": {"path": "nvidia-container-runtime", "args": []}}


class Toolkit(NamedTuple):
    """The installed toolkit: its release (None without one), and that of each package of PACKAGES that is installed."""

    release: str | None = None
    packages: dict[str, str] = {}  # noqa: RUF012 - a NamedTuple's default, never changed
    own: bool = False  # the role installed it
    enabled_cdi: bool = False  # the role has enabled CDI in daemon.json
    devices: Sequence[str] = ()  # CDI's current devices


class Wanted(NamedTuple):
    """The settings of the role nvidia_container_toolkit."""

    runtime: str
    source: str  # auto, nvidia or none
    mode: str  # auto, cdi or legacy
    version: str


class Choice(NamedTuple):
    """The role's action: skip, keep, install, upgrade or refuse; `sentence` gives the reason."""

    action: str
    sentence: str
    mode: str = ""  # cdi or legacy
    missing: Sequence[str] = ()  # packages that are not installed, or not at the wanted release
    devices: Sequence[str] = ()  # CDI's current devices
    warnings: Sequence[str] = ()
    problems: Sequence[Problem] = ()
    managed: bool = False  # the role's pin, repository and unit order apply
    daemon: dict[str, object] = {}  # noqa: RUF012 - the keys that daemon.json needs
    orders_docker: bool = False  # the unit of Docker is ordered after the CDI specification


def inspect(packages: Packages) -> Toolkit:
    """Return the installed toolkit."""
    releases = {name: packages.versions[name].partition("-")[0] for name in PACKAGES if name in packages.versions}
    release = releases.get("nvidia-container-toolkit-base") or releases.get("nvidia-container-toolkit")
    if not release:  # from another package manager, or by hand
        match = re.search(r"version v?(\d+\.\d+\.\d+)", process.output("nvidia-ctk", "--version") or "")
        release = match[1] if match else None
    return Toolkit(
        release=release,
        packages=releases,
        own=any(name in receipt.load().packages for name in PACKAGES),
        enabled_cdi="features" in docker_config.noted("nvidia_container_toolkit"),
        devices=docker.cdi_devices() if release else [],
    )


def choose(engine: Engine, toolkit: Toolkit, wanted: Wanted) -> Choice:
    """Return the action for the installed engine and toolkit, and the settings of the role."""
    if wanted.runtime == "native":
        return Choice(
            "skip", "The agents run as native processes of systemd; no NVIDIA container toolkit is installed."
        )
    mode = _mode(engine, wanted)
    keeps = wanted.source == "none" or (wanted.source == "auto" and not toolkit.own and not _flaw(toolkit, mode))
    daemon = _daemon(engine, toolkit, mode)
    if problem := _problem(engine, toolkit, wanted, keeps=keeps):
        return Choice("refuse", problem.text, problems=[problem])
    release = toolkit.release if keeps else wanted.version
    missing = [] if keeps else [name for name in PACKAGES if toolkit.packages.get(name) != wanted.version]
    action = "keep" if not missing else "upgrade" if toolkit.release else "install"
    from_ = f" instead of {toolkit.release}" if action == "upgrade" and toolkit.release != release else ""
    return Choice(
        action,
        f"NVIDIA container toolkit {release}, {mode}{from_}.",
        mode=mode,
        missing=missing,
        devices=toolkit.devices,
        warnings=_announced(engine, wanted, daemon),
        managed=not keeps,
        daemon=daemon,
        orders_docker=engine.origin is None or engine.own,
    )


def _mode(engine: Engine, wanted: Wanted) -> str:
    """Return the mode; auto is CDI, unless the engine lacks it or a restart for it would stop containers of others."""
    if wanted.mode != "auto":
        return wanted.mode
    return "cdi" if _has_cdi(engine) and not _stops_strangers(engine) else "legacy"


def _has_cdi(engine: Engine) -> bool:
    # Without an engine, as in check mode on a fresh host, the role container_engine installs a current one.
    return engine.version is None or container_engine.major_minor(engine.version) >= container_engine.CDI_SINCE


def _problem(engine: Engine, toolkit: Toolkit, wanted: Wanted, *, keeps: bool) -> Problem | None:
    """Return the reason of a refusal for the settings and the installed releases."""
    setting = f"nvidia_container_toolkit_source is {wanted.source}"
    if wanted.mode == "cdi" and not _has_cdi(engine):
        return Problem(
            f"nvidia_container_toolkit_mode is cdi, but Docker {engine.version} does not support CDI",
            str(engine.version),
            "write legacy, or install Docker 25.0 or later",
        )
    if wanted.mode == "cdi" and _stops_strangers(engine):
        stopped = container_engine.named(engine.strangers)
        return Problem(
            f"CDI needs a restart of Docker {engine.version}, which would stop {stopped}",
            ", ".join(engine.strangers),
            f"{_BY_HAND}, or write nvidia_container_toolkit_mode: legacy, which needs no restart",
        )
    if not keeps and _numbers(wanted.version) < _numbers(MINIMUM):
        return Problem(
            f"nvidia_container_toolkit_version is {wanted.version}, which does not refresh CDI's specification",
            wanted.version,
            f"write {MINIMUM} or later",
        )
    if keeps and (flaw := _flaw(toolkit, _mode(engine, wanted))):
        return Problem(
            f"{setting}, and {flaw}",
            toolkit.release or "none",
            f"write auto, or install release {MINIMUM} or later with all its packages",
        )
    return None


def _flaw(toolkit: Toolkit, mode: str) -> str:
    """Return why the installed toolkit is not good enough; empty if it is."""
    if toolkit.release is None:
        return "no NVIDIA container toolkit is installed"
    if _numbers(toolkit.release) < _numbers(MINIMUM):
        return f"release {toolkit.release} does not refresh CDI's specification"
    if len({*toolkit.packages.values()}) > 1:
        return f"its packages have different releases ({', '.join(sorted({*toolkit.packages.values()}))})"
    if mode == "legacy" and toolkit.packages and "nvidia-container-toolkit" not in toolkit.packages:
        return "the package nvidia-container-toolkit with the legacy runtime is not installed"
    return ""


def _daemon(engine: Engine, toolkit: Toolkit, mode: str) -> dict[str, object]:
    """Return the keys for daemon.json. An engine of someone else gets only what is needed to access the GPU."""
    if mode == "legacy":
        return {"runtimes": RUNTIME}
    if engine.origin is None or engine.own:
        # The legacy runtime is configured too, because a container may request it by name.
        return {"features": {"cdi": True}, "runtimes": RUNTIME}
    return {"features": {"cdi": True}} if not engine.cdi or toolkit.enabled_cdi else {}


def _stops_strangers(engine: Engine) -> bool:
    """Return true if CDI is off, and the restart that enables it would stop containers of others."""
    return engine.cdi is False and bool(engine.strangers) and not engine.live_restore


def _announced(engine: Engine, wanted: Wanted, daemon: dict[str, object]) -> list[str]:
    """Return the changes to an engine that Roundhouse did not install, and what they cannot do."""
    found = []
    if engine.origin and not engine.own:
        if "runtimes" in daemon and not engine.has_runtime:
            found.append("daemon.json of the installed Docker gets the runtime nvidia, and Docker is reloaded.")
        if "features" in daemon and engine.cdi is False:
            kept = ", and its containers continue (live-restore)" if engine.strangers else ""
            found.append(f"daemon.json of the installed Docker gets features.cdi, and Docker is restarted{kept}.")
    if wanted.mode == "auto" and _has_cdi(engine) and _stops_strangers(engine):
        stopped = container_engine.named(engine.strangers)
        found.append(
            f"Docker is not restarted for CDI, which would stop {stopped}. In legacy mode a systemd daemon-reload "
            f"removes the GPU from containers: {_BY_HAND}."
        )
    return found


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]
