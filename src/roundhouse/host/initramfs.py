"""Find the program that builds a host's initramfs, and its commands.

Debian and Ubuntu to 25.04 use initramfs-tools. Ubuntu 26.04 and RHEL use dracut. A host with both keeps the first one.
"""

from __future__ import annotations

from pathlib import Path

TOOLS = {"initramfs-tools": ("usr/sbin/mkinitramfs",), "dracut": ("usr/bin/dracut", "usr/sbin/dracut")}
_IMAGES = ("initrd.img-{}", "initramfs-{}.img")


def tool(root: Path) -> str | None:
    """Return initramfs-tools or dracut, None if the host has neither."""
    return next((name for name, paths in TOOLS.items() if any((root / path).exists() for path in paths)), None)


def images(root: Path, kernels: list[str]) -> dict[str, Path]:
    """Return the image of each kernel that has one."""
    found = ((kernel, root / "boot" / name.format(kernel)) for kernel in kernels for name in _IMAGES)
    return {kernel: path for kernel, path in found if path.exists()}


def is_stale(root: Path, kernels: list[str], file: Path) -> bool:
    """Return true if the image of a kernel is older than a file that it must contain."""
    if not file.exists():
        return False
    return any(path.stat().st_mtime < file.stat().st_mtime for path in images(root, kernels).values())


def commands(root: Path, kernels: list[str]) -> list[list[str]]:
    """Return the commands that rebuild the images of all kernels."""
    found = tool(root)
    if found == "initramfs-tools":
        return [["update-initramfs", "-u", "-k", "all"]]
    if found == "dracut":
        # The path is given, because dracut's default name differs between distributions.
        built = images(root, kernels)
        return [["dracut", "--force", f"/{path.relative_to(root)}", kernel] for kernel, path in sorted(built.items())]
    return []
