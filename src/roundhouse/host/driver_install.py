"""Choose the action of the role nvidia_driver: skip, keep, install, upgrade or refuse, and the packages to install.

The inputs are driver.inspect(), dpkg.installed(), apt's candidates, the role's settings and its table of platforms
(roles/nvidia_driver/vars/main/). A refusal names the setting, its value, and what to write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import dpkg, driver, driver_settings, driver_support, gpu, kernel_meta
from .dpkg import Packages
from .driver import Facts, State
from .driver_settings import Candidates, Wanted
from .problem import Problem

# The states of a driver that works now. The last two concern the next kernel only, if the driver works.
_BRANCH_IN_NAME = re.compile(r"-\d{3}(-server)?(-open)?$")  # such as nvidia-utils-580-server
_USABLE = ("ok", "unmanaged", "module_missing", "dkms_failed")


class Choice(NamedTuple):
    """The role's action: skip, keep, install, upgrade or refuse; `sentence` gives the reason.

    `managed` is true if the role installs, pins and holds this driver. The fields after it are for a managed driver.
    """

    action: str
    sentence: str
    problems: Sequence[Problem] = ()
    warnings: Sequence[str] = ()
    managed: bool = False
    source: str = ""
    flavour: str = ""
    packages: Sequence[str] = ()
    missing: Sequence[str] = ()  # those of `packages` that are not installed.
    build: Sequence[str] = ()  # missing packages that DKMS needs to build.
    specs: Sequence[str] = ()  # apt's arguments; empty if all packages are complete.
    stream: str = ""  # the stream of dnf's module, MODULE:STREAM.
    rebuild: Sequence[str] = ()  # kernels for which DKMS has to build the installed modules.
    upgrade: bool = False  # a different release replaces the installed one.
    held: Sequence[str] = ()  # installed driver packages that are held from upgrades.
    unheld: Sequence[str] = ()  # packages to hold.
    to_unhold: Sequence[str] = ()  # prebuilt kernel modules that are held and must follow the kernel's updates.
    needs_index: bool = False  # apt's index is missing or old, so the candidates are unknown


def questions(facts: Facts, wanted: Wanted, packages: Packages) -> list[str]:
    """Return the names of packages whose candidates choose() needs."""
    row = _row(wanted)
    headers = driver_settings.headers(row, facts)
    if driver_settings.package_source(wanted) != "distribution":
        asked = [name for name in row.get("elsewhere", []) if name not in packages.versions]
        return asked + headers if _needs_build(facts, wanted) else headers
    names = _templates(facts, wanted, row)
    return [each for name in names for each in _expand(name, wanted, _flavours(facts, packages))] + headers


def choose(
    facts: Facts,
    wanted: Wanted,
    packages: Packages,
    ours: Mapping[str, object] | None,
    candidates: Candidates | None = None,
) -> Choice:
    """Return the action. `ours` is the content of driver.OURS, None if this role has installed nothing.

    `candidates` are those of apt_candidates.read() for questions(); None if they are unknown.
    """
    if wanted.accelerator == "cpu":
        return Choice("skip", "The engine runs on the CPU and needs no driver.")
    state = driver.state(facts)
    if facts.wsl:
        return Choice("skip", f"{state.sentence} {state.cure}")
    if facts.container:
        problem = driver_settings.container_problem(facts)
        sentence = f"This host is a container ({facts.container}), which uses the machine's driver."
        return _refuse([problem]) if problem else Choice("skip", sentence)
    if not facts.gpus:
        sentence = f"{state.sentence} {state.cure}"
        return _refuse([Problem(state.sentence.rstrip("."), state.state, _remedy(state.cure))], sentence)
    others = packages.drivers if ours is None else []
    if wanted.source == "none" or others or facts.runfile or (ours is None and facts.works):
        return _keep(state, facts, wanted, others, packages)
    return _manage(facts, wanted, packages, candidates)


def settled(choice: Choice, facts: Facts, packages: Packages, *, persistent: bool) -> bool:
    """Return true if the chosen driver is installed, held and working, so that the role changes nothing."""
    return (
        choice.managed
        and not any((choice.specs, choice.build, choice.rebuild, choice.unheld, choice.to_unhold, packages.broken))
        and not facts.initramfs_stale
        and persistent
        and driver.state(facts).state == "ok"
    )


def read_ours() -> dict[str, object] | None:
    """Return the role's record of what it installed, None without one."""
    return dict(json.loads(driver.OURS.read_text())) if driver.OURS.exists() else None


def _refuse(found: list[Problem], sentence: str = "") -> Choice:
    return Choice("refuse", sentence or "\n".join(problem.text for problem in found), found)


def _remedy(cure: str) -> str:
    """Return a cure as the second half of a sentence."""
    return cure[:1].lower() + cure[1:].rstrip(".")


def _keep(state: State, facts: Facts, wanted: Wanted, others: list[str], packages: Packages) -> Choice:
    """Keep a driver of another source if it works and the engine accepts it, else refuse."""
    if facts.runfile:
        why, removal = "NVIDIA's runfile installed it", "run `nvidia-uninstall`"
    elif others:
        why, removal = f"this role did not install {others[0]}", f"run `{packages.remove} {' '.join(others)}`"
    elif wanted.source == "none":
        why, removal = "nvidia_driver_source is none", "remove the driver, set nvidia_driver_source: auto"
    else:
        why, removal = "this role did not install it", "remove it as it was installed"
    if facts.works and driver_support.below_minimum(str(facts.loaded)):
        what = f"The driver {facts.loaded} is too old: {driver_support.needed()}"
        own = f"upgrade it to branch {wanted.branch}" if wanted.source == "none" else "upgrade it yourself"
        return _refuse([Problem(what, str(facts.loaded), f"{own}, or {removal}, reboot, and run site.yml again")])
    if facts.works and state.state in _USABLE:
        soon = [] if state.state in ("ok", "unmanaged") else [f"{state.sentence} {state.cure}"]
        sentence = f"The driver {facts.loaded} works. It is not changed: {why}."
        return Choice("keep", sentence, warnings=soon)
    remedy = "" if not others else " To have this role install a driver, remove those packages first."
    sentence = f"{state.sentence} {state.cure} This role does not change it: {why}.{remedy}"
    return _refuse([Problem(state.sentence.rstrip("."), state.state, _remedy(state.cure))], sentence)


def _manage(facts: Facts, wanted: Wanted, packages: Packages, candidates: Candidates | None) -> Choice:
    """Choose the action for a driver that this role manages, or refuse."""
    prebuilt, row = driver_settings.package_source(wanted) == "distribution", _row(wanted)
    templates, flavours = _templates(facts, wanted, row), _flavours(facts, packages)
    found = driver_settings.problems(facts, wanted)
    if not found and not flavours:
        found = driver_settings.kernel_problem(facts, wanted, templates)
    if found:
        return _refuse(found)
    names = _available([_expand(name, wanted, flavours) for name in templates], candidates if prebuilt else None)
    work = _work(names, facts, wanted, packages, candidates)
    if prebuilt and candidates is not None and work.asks_index:
        found = driver_settings.candidate_problems(names, wanted, candidates)
    if not prebuilt and candidates is not None and _needs_build(facts, wanted):
        elsewhere = [name for name in row.get("elsewhere", []) if name not in packages.versions]
        found = driver_settings.elsewhere_problems(elsewhere, candidates)
    return _refuse(found) if found else _managed(names, work, facts, wanted, packages)


class _Work(NamedTuple):
    """The changes of packages that a managed driver needs."""

    missing: list[str]
    build: list[str]
    specs: list[str]
    upgrade: bool
    asks_index: bool  # the choice depends on apt's index
    needs_index: bool  # and the index is missing or old


def _work(names: list[str], facts: Facts, wanted: Wanted, packages: Packages, candidates: Candidates | None) -> _Work:
    prebuilt = driver_settings.package_source(wanted) == "distribution"
    missing = [name for name in names if name not in packages.versions]
    changed = _other_release(names, wanted, packages, prebuilt=prebuilt)
    repair = prebuilt and bool(facts.without_module)
    # The module of a new kernel may need a newer release of the other packages.
    stale = names if missing or changed else _outdated(names, packages, candidates) if repair else []
    asks_index = bool(missing or changed or repair) if prebuilt else bool(facts.without_headers)
    return _Work(
        missing=missing,
        build=[] if prebuilt else _build(_row(wanted), facts, wanted, packages, candidates),
        specs=_specs(stale, wanted, candidates if prebuilt and not missing else None, prebuilt=prebuilt)
        if packages.holds
        else driver_settings.dnf_specs(stale, wanted),
        upgrade=changed or (repair and not missing and any(name in packages.user_space for name in stale)),
        asks_index=asks_index,
        needs_index=asks_index and candidates is None,
    )


def _managed(names: list[str], work: _Work, facts: Facts, wanted: Wanted, packages: Packages) -> Choice:
    source, flavour = driver_settings.package_source(wanted), driver_settings.kernel_flavour(facts, wanted)
    complete = not (work.specs or work.build)
    end = driver_support.BRANCHES.get(wanted.branch)
    return Choice(
        "upgrade" if work.upgrade else "keep" if complete and not facts.without_module else "install",
        f"Driver branch {wanted.branch}{f' (supported until {end})' if end else ''}, {flavour} kernel modules, from "
        f"{source}.",
        warnings=_warnings(facts, wanted),
        managed=True,
        source=source,
        flavour=flavour,
        packages=names,
        missing=work.missing,
        build=work.build,
        specs=work.specs,
        stream=driver_settings.stream(facts, wanted),
        rebuild=facts.without_module if complete and source != "distribution" else [],
        upgrade=work.upgrade,
        held=[name for name in packages.drivers if name in packages.held],
        unheld=[name for name in packages.user_space if packages.holds and name not in packages.held],
        to_unhold=[name for name in packages.held if dpkg.KERNEL_MODULES.match(name)],
        needs_index=work.needs_index,
    )


def _row(wanted: Wanted) -> dict[str, Any]:
    return dict((wanted.platform or {}).get(driver_settings.package_source(wanted), {}))


def _needs_build(facts: Facts, wanted: Wanted) -> bool:
    """Return true if this role may have to build modules, so that its build packages must be offered."""
    return wanted.accelerator == "cuda" and bool(facts.gpus) and not facts.works


def _templates(facts: Facts, wanted: Wanted, row: Mapping[str, Any]) -> list[str]:
    """Return the platform's names of the driver's packages, with {branch} and {kernel}."""
    flavour = driver_settings.kernel_flavour(facts, wanted)
    newer = f"{flavour}_from_590"
    return list(row.get(newer if wanted.branch >= 590 and newer in row else flavour, []))


def _flavours(facts: Facts, packages: Packages) -> list[str]:
    return kernel_meta.flavours(facts.kernel, facts.next_kernel, packages.kernel_metas)


def _expand(name: str, wanted: Wanted, flavours: Sequence[str]) -> list[str]:
    """Return the names of a package, one for each flavour of kernel if the name contains it."""
    return list(dict.fromkeys(name.format(branch=wanted.branch, kernel=each) for each in flavours or ["generic"]))


def _available(names: list[list[str]], candidates: Candidates | None) -> list[str]:
    """Return the packages. The modules of a second kernel's flavour are left out if the index lacks them."""
    first = [each[0] for each in names]
    return first + [more for each in names for more in each[1:] if candidates is None or more in candidates]


def _other_release(names: Sequence[str], wanted: Wanted, packages: Packages, *, prebuilt: bool) -> bool:
    """Return true if an installed driver package has another release or branch than the wanted one."""
    there = list(filter(_BRANCH_IN_NAME.search, packages.user_space)) if prebuilt else names
    there = [name for name in there if name in packages.versions]
    return any(not driver_settings.is_wanted(packages.versions[name], wanted) for name in there)


def _outdated(names: Sequence[str], packages: Packages, candidates: Candidates | None) -> list[str]:
    """Return the packages for a repair. The module of a new kernel may need a newer release of the other packages."""
    return [name for name in names if candidates is None or candidates.get(name) != packages.versions.get(name)]


def _specs(names: Sequence[str], wanted: Wanted, candidates: Candidates | None, *, prebuilt: bool) -> list[str]:
    """Return apt's arguments. NVIDIA's packages have the same names in each branch, so the version selects it.

    apt changes an installed package only if the argument has a version, so a distribution's packages get theirs.
    """
    if prebuilt:
        return [f"{name}={candidates[name]}" if candidates else name for name in names]
    return [f"{name}={wanted.version}-*" if wanted.version else f"{name}={wanted.branch}.*" for name in names]


def _build(
    row: Mapping[str, Any], facts: Facts, wanted: Wanted, packages: Packages, candidates: Candidates | None
) -> list[str]:
    """Return the missing packages that DKMS needs, with the headers of kernels that still lack a module."""
    flavours = _flavours(facts, packages) or [facts.kernel]
    names = [each for name in row.get("build", []) for each in _expand(name, wanted, flavours)]
    missing = [name for name in names if name not in packages.versions]
    headers = driver_settings.headers(row, facts)
    return missing or [name for name in headers if candidates and name in candidates]


def _warnings(facts: Facts, wanted: Wanted) -> list[str]:
    unknown = [
        f"Card 10de:{card['device_id']} is unknown to Roundhouse and gets the open kernel modules of branch "
        f"{wanted.branch}. If that branch does not support it, set nvidia_driver_branch to a newer one."
        for card in facts.gpus
        if card["architecture"] is None
    ]
    blocked = [
        f"Card {card['address']} (10de:{card['device_id']}) has nouveau, which this role blocks, and NVIDIA's driver "
        "does not support it. After the next boot, a monitor on it shows only the firmware's picture."
        for card in facts.gpus
        if card["architecture"] == gpu.PRE_MAXWELL and card["driver"] == "nouveau"
    ]
    return unknown + blocked
