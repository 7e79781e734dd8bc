#!/usr/bin/env python3
"""Build a stand-in for Ubuntu's archive: kernels, NVIDIA's prebuilt kernel modules and the driver's other packages.

    archive.py FOLDER

The packages have the names and dependencies of Ubuntu's. Each subfolder of FOLDER is the archive of a day:

    1  kernel 6.8.0-90, driver 580.126.09 and 595.71.05
    2  kernel 6.8.0-91 with modules of the same drivers
    3  kernel 6.8.0-92 with modules of the drivers 580.173.02 and 595.71.05

The kernel's meta-package brings the new kernel, and the modules' meta-package brings its modules. The modules need the
other packages of their driver's release (Ubuntu's linux-restricted-modules).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import packages

HERE = Path(__file__).resolve().parent
# The ABI of the kernel and the releases of the driver, by day.
DAYS = {
    "1": (90, ("580.126.09", "595.71.05")),
    "2": (91, ("580.126.09", "595.71.05")),
    "3": (92, ("580.173.02", "595.71.05")),
}
# Ubuntu's unit is static: a rule of udev starts it. It turns the persistence mode off.
PERSISTENCED = """\
[Unit]
Description=NVIDIA Persistence Daemon (the lab's)
StopWhenUnneeded=true

[Service]
Type=forking
ExecStart=/usr/bin/nvidia-persistenced --user nvidia-persistenced --no-persistence-mode --verbose
ExecStopPost=/bin/rm -rf /var/run/nvidia-persistenced
"""
DAEMON = """\
#!/bin/sh
# The lab's daemon: it creates the device nodes, as the real one does, and records its arguments.
lab-kernel nodes
mkdir -p /run/nvidia-persistenced
echo "$*" >/run/nvidia-persistenced/arguments
sleep infinity &
"""
ACCOUNT = """\
getent passwd nvidia-persistenced >/dev/null || useradd --system --user-group nvidia-persistenced
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
"""
# As the kernel's packages do: the hooks build the initramfs, and DKMS's modules.
INSTALL_KERNEL = "depmod {kernel}\nrun-parts --arg={kernel} /etc/kernel/postinst.d\n"
REMOVE_KERNEL = 'if [ "$1" = remove ]; then rm -rf /lib/modules/{kernel} /boot/initrd.img-{kernel}; fi\n'


def kernel(folder: Path, abi: int) -> None:
    """Build a kernel and the meta-packages of three flavours that depend on it."""
    name, version = f"6.8.0-{abi}-generic", f"6.8.0-{abi}.{abi + 1}"
    lists = {f"lib/modules/{name}/{each}": "" for each in ("modules.order", "modules.builtin", "kernel/README")}
    scripts = {"postinst": INSTALL_KERNEL.format(kernel=name), "postrm": REMOVE_KERNEL.format(kernel=name)}
    image = packages.Package(
        f"linux-image-{name}", version, files={f"boot/vmlinuz-{name}": name, **lists}, scripts=scripts
    )
    packages.build(folder, image)
    for flavour in ("generic", "virtual"):
        packages.build(folder, packages.Package(f"linux-image-{flavour}", version, depends=image.name))


def modules(folder: Path, abi: int, release: str) -> None:
    """Build the prebuilt modules of a driver for a kernel, and their meta-package."""
    branch, kernel_name, version = release.partition(".")[0], f"6.8.0-{abi}-generic", f"6.8.0-{abi}.{abi + 1}"
    for suffix, licence in (("-open", "Dual MIT/GPL"), ("", "NVIDIA")):
        stem, common = f"linux-modules-nvidia-{branch}-server{suffix}", f"nvidia-kernel-common-{branch}-server"
        place = f"lib/modules/{kernel_name}/kernel/nvidia-{branch}srv{suffix}/nvidia.ko"
        depmod = {"postinst": f"depmod {kernel_name}\n", "postrm": f"depmod {kernel_name} || true\n"}
        packages.build(
            folder,
            packages.Package(
                f"{stem}-{kernel_name}",
                version,
                depends=f"linux-image-{kernel_name}, {common}",
                files={place: module(release, licence, kernel_name)},
                scripts=depmod,
            ),
        )
        needs = f"{stem}-{kernel_name} (= {version}), {common} (>= {release}), {common} (<= {release}-1)"
        packages.build(folder, packages.Package(f"{stem}-generic", version, depends=needs))


def module(release: str, licence: str, kernel_name: str) -> bytes:
    """Compile an object with the section that modinfo reads."""
    told = rf"license={licence}\0version={release}\0name=nvidia\0vermagic={kernel_name}"
    code = f'const char told[] __attribute__((section(".modinfo"))) = "{told}";'
    with tempfile.NamedTemporaryFile(suffix=".ko") as target:
        subprocess.run(["gcc", "-xc", "-c", "-o", target.name, "-"], input=code, text=True, check=True)
        return Path(target.name).read_bytes()


def user_space(folder: Path, release: str) -> None:
    """Build the driver's other packages. Those of another branch replace them."""
    branch, version = release.partition(".")[0], f"{release}-0ubuntu0.24.04.1"
    end = f"{branch}-server"

    def add(name: str, **more) -> None:
        fields = f"Provides: {name}\nConflicts: {name}\nReplaces: {name}"
        packages.build(folder, packages.Package(f"{name}-{end}", version, fields=fields, **more))

    unit = {"usr/bin/nvidia-persistenced": DAEMON, "lib/systemd/system/nvidia-persistenced.service": PERSISTENCED}
    compute = f"libnvidia-compute-{end} (= {version})"
    add("libnvidia-compute", files=packages.nvml(HERE / "nvml.c", release))
    add("nvidia-kernel-common")
    add("nvidia-utils", depends=compute)
    add("nvidia-compute-utils", depends=compute, files=unit, scripts={"postinst": ACCOUNT})
    for suffix in ("", "-open"):
        headless = packages.Package(
            f"nvidia-headless-no-dkms-{end}{suffix}",
            version,
            depends=f"nvidia-kernel-common-{end} (= {version}), nvidia-compute-utils-{end} (= {version}), {compute}",
        )
        packages.build(folder, headless)


def main(target: Path) -> int:
    """Build the archives of all days and sign them."""
    key = packages.make_key("ubuntu", target / "key")
    before: Path | None = None
    for day, (abi, releases) in DAYS.items():
        folder = target / day
        if before:  # the archive keeps the older kernels, and their modules
            shutil.copytree(before, folder, ignore=shutil.ignore_patterns("InRelease", "Packages"))
        kernel(folder, abi)
        for release in releases:
            modules(folder, abi, release)
            user_space(folder, release)
        time.sleep(1.1 if before else 0)  # apt compares the times of two days in seconds
        packages.publish(folder, key)
        before = folder
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
