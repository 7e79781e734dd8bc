"""Tell the processes of a desktop on a GPU from others, because a remedy never ends them."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..util.units import GIB
from . import control_group

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.cards import Process

COMPUTE, GRAPHICS = "compute", "graphics"
# Programs of a desktop that also compute, for example to decode video, so that NVML may list them as such. A name
# ends at the first separator: "kwin" is that of kwin_x11 and kwin_wayland too.
_DESKTOP = frozenset(
    (
        *("Xorg", "X", "Xwayland", "Xvnc", "xrdp", "xdg", "gdm", "gdm3", "sddm", "lightdm", "picom", "compiz"),
        *("gnome", "mutter", "nautilus", "kwin", "plasmashell", "ksplashqml", "xfwm4", "cinnamon", "muffin", "marco"),
        *("budgie", "sway", "Hyprland", "weston", "cosmic", "niri", "labwc", "wayfire", "gamescope"),
        *("firefox", "chrome", "chromium", "brave", "opera", "vivaldi", "msedge", "electron", "code"),
    )
)


def listed(library: ModuleType, running: dict[str, list[Any] | None]) -> list[Process]:
    """Return the processes by PID, each once with all of its kinds. `running` has pynvml's answers by kind."""
    found: dict[int, Process] = {}
    for kind, processes in running.items():
        for process in processes or []:
            used = process.usedGpuMemory
            row = found.setdefault(
                process.pid,
                {
                    "pid": process.pid,
                    "name": _name(library, process.pid),
                    "gib": None,
                    "kinds": [],
                    "unit": _unit(process.pid),
                },
            )
            row["kinds"].append(kind)
            row["gib"] = row["gib"] if used is None else used / GIB
    return sorted(found.values(), key=lambda row: row["pid"])


def _name(library: ModuleType, pid: int) -> str | None:
    try:
        return str(library.nvmlSystemGetProcessName(pid))
    except library.NVMLError:  # it has ended, or runs in another namespace
        return None


def _unit(pid: int) -> str | None:
    try:
        return control_group.unit_of(pid)
    except OSError:  # likewise
        return None


def is_desktop(kinds: list[str], name: str | None) -> bool:
    """Return whether a process belongs to a desktop: it draws (NVML's graphics type), or has such a program's name."""
    return GRAPHICS in kinds or program(name).partition("-")[0].partition("_")[0] in _DESKTOP


def program(name: str | None) -> str:
    """Return the program's name of a process without its folder and arguments; "" if it is unknown."""
    return (name or "").partition(" ")[0].rpartition("/")[2]


def computing_gib(processes: list[Process] | None) -> float | None:
    """Return the GiB of the processes that no desktop owns; None if the driver does not report a process's memory."""
    if processes is None:
        return None
    sizes = [each["gib"] for each in processes if not is_desktop(each["kinds"], each["name"])]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def agents_gib(processes: list[Process] | None) -> float | None:
    """Return the GiB of the agents' engines; None if the driver does not report an engine's memory."""
    own = [each["gib"] for each in processes or [] if (each["unit"] or "").startswith("roundhouse-")]
    known = [size for size in own if size is not None]
    return sum(known) if len(known) == len(own) else None
