#!/usr/bin/env python3
"""Build the lab's package repositories with the vendors' layout: NVIDIA's drivers and container toolkit, Docker.

    repository.py FOLDER

The packages have the real names and dependencies and almost no content. Three parts are real programs: the module that
DKMS builds, the library that NVML's client loads, and Docker's engine (Debian 13's, in Docker's packaging).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import container
import packages

HERE = Path(__file__).resolve().parent
# Several branches. 535 and 570 are too old for the engine's CUDA. 580.105.08 is below the minimum, 580.150.01 does not
# build, and 595.71.05 is newer than the pin.
DRIVERS = ("535.261.03", "570.211.01", "580.105.08", "580.126.09", "580.150.01", "580.173.02", "595.71.05")
BROKEN = "580.150.01"
MAKEFILE = """\
obj-m := nvidia.o
ccflags-y := -DVERSION='"{version}"' -DLICENSE='"{licence}"'{broken}
"""
DKMS = """\
PACKAGE_NAME="nvidia"
PACKAGE_VERSION="{version}"
BUILT_MODULE_NAME[0]="nvidia"
DEST_MODULE_LOCATION[0]="/updates/dkms"
MAKE[0]="make -C $kernel_source_dir M=$dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build modules"
CLEAN="true"
AUTOINSTALL="yes"
"""
# The lines that Debian's dh_dkms writes into a package's scripts.
DKMS_SCRIPTS = {
    "postinst": 'if [ "$1" = configure ]; then /usr/lib/dkms/common.postinst nvidia {version} "" "" "$2"; fi\n',
    "prerm": 'if [ "$(dkms status -m nvidia -v {version})" ]; then dkms remove -m nvidia -v {version} --all; fi\n',
}
# Packages of a newer Debian kernel. Its headers are those of Debian's kernel, which DKMS can build with.
NEWER = "6.99.0-1-amd64"
IMAGE = {
    "postinst": f"depmod {NEWER}\nrun-parts --arg={NEWER} /etc/kernel/postinst.d\n",
    "postrm": f'if [ "$1" = remove ]; then rm -rf /lib/modules/{NEWER} /boot/initrd.img-{NEWER}; fi\n',
}
HEADERS = {
    "postinst": f'ln -sfn "$(readlink -f /lib/modules/*+deb*/build | tail -n 1)" /lib/modules/{NEWER}/build\n'
    f"run-parts --arg={NEWER} /etc/kernel/header_postinst.d\n"
}
# Loading the module creates no device nodes; these programs do (kernel.py).
MODPROBE = "#!/bin/sh\nexec lab-kernel nodes\n"
SMI = """\
#!/bin/sh
# The lab's nvidia-smi: it creates the device nodes and lists the cards, whatever its options.
if ! lab-kernel nodes 2>/dev/null; then
  echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
  exit 9
fi
sed -nE 's/^gpu (\\S+ ){6}(\\S+) (.*)/\\3 (UUID: \\2)/p' /etc/lab-nvml.conf | nl -v 0 -w 1 -s ': ' | sed 's/^/GPU /'
"""
PERSISTENCED = """\
[Unit]
Description=NVIDIA Persistence Daemon (the lab's)

[Service]
ExecStartPre=/usr/bin/nvidia-modprobe -c 0
ExecStart=/bin/sleep infinity

[Install]
WantedBy=multi-user.target
"""


def driver(folder: Path, version: str) -> None:
    """Build one release of the driver."""
    deb = f"{version}-1"

    def add(name: str, fields: str = "", **more) -> None:
        fields = "\n".join(["Source: nvidia-graphics-drivers", *filter(None, [fields])])
        packages.build(folder, packages.Package(name, deb, fields=fields, **more))

    for name, licence, rival in (
        ("nvidia-kernel-open-dkms", "Dual MIT/GPL", "nvidia-kernel-dkms"),
        ("nvidia-kernel-dkms", "NVIDIA", "nvidia-kernel-open-dkms"),
    ):
        scripts = {script: text.format(version=version) for script, text in DKMS_SCRIPTS.items()}
        add(name, depends="dkms", fields=f"Conflicts: {rival}", files=sources(version, licence), scripts=scripts)
    add("libnvidia-ml1", files=packages.nvml(HERE / "nvml.c", version))
    add("libcuda1", depends=f"libnvidia-ml1 (= {deb})")
    add("libcudadebugger1", depends=f"libcuda1 (= {deb})")
    add("nvidia-modprobe", files={"usr/bin/nvidia-modprobe": MODPROBE})
    add("nvidia-persistenced", files={"lib/systemd/system/nvidia-persistenced.service": PERSISTENCED})
    kernel = f"nvidia-kernel-open-dkms (= {deb}) | nvidia-kernel-dkms (= {deb})"
    names = ("libcuda1", "libcudadebugger1", "libnvidia-ml1", "nvidia-modprobe", "nvidia-persistenced")
    parts = [f"{name} (= {deb})" for name in names]
    add("nvidia-driver-cuda", depends=", ".join([*parts, kernel]), files={"usr/bin/nvidia-smi": SMI})


def kernel(folder: Path) -> None:
    """Build a newer kernel and its headers."""
    lists = {f"lib/modules/{NEWER}/{name}": "" for name in ("modules.order", "modules.builtin", "kernel/README")}
    image = packages.Package(f"linux-image-{NEWER}", "6.99.1-1", files=lists, scripts=IMAGE)
    packages.build(folder, image)
    depends = f"linux-headers-amd64, {image.name}"
    packages.build(folder, packages.Package(f"linux-headers-{NEWER}", "6.99.1-1", depends=depends, scripts=HEADERS))


def sources(version: str, licence: str) -> dict[str, str]:
    """Return the module's sources in DKMS's layout."""
    broken = " -DBROKEN" if version == BROKEN else ""
    return {
        f"usr/src/nvidia-{version}/nvidia.c": (HERE / "dkms/nvidia.c").read_text(),
        f"usr/src/nvidia-{version}/Makefile": MAKEFILE.format(version=version, licence=licence, broken=broken),
        f"usr/src/nvidia-{version}/dkms.conf": DKMS.format(version=version),
    }


def main(target: Path) -> int:
    """Build everything below `target`."""
    right = packages.make_key("right", target / "key")
    wrong = packages.make_key("wrong", target / "wrong-key")
    (target / "fingerprint").write_text(right)
    first = target / "cuda/debian12/x86_64"
    for version in DRIVERS:
        driver(first, version)
    shutil.copytree(first, target / "cuda/debian13/x86_64")
    for place, key in (("cuda", right), ("signed-by-another", wrong)):
        for suite in ("debian12", "debian13"):
            folder = target / place / suite / "x86_64"
            folder.mkdir(parents=True, exist_ok=True)
            packages.publish(folder, key)
            for name in ("3bf863cc.pub", "8793F200.pub"):
                shutil.copy(target / "key", folder / name)
    kernel(target / "kernel")
    packages.publish(target / "kernel", right)
    container.docker(target / "docker", right, target / "key")
    container.toolkit(target / "libnvidia-container", right, target / "key")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
