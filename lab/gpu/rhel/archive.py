#!/usr/bin/env python3
"""Build stand-ins for the repositories of a RHEL host: the distribution's, EPEL, NVIDIA's and Docker's.

    archive.py FOLDER

The packages have the names, epochs and module streams of the vendors', and almost no content. Their real parts come
from the lab's Debian packages (../repository.py): Docker, the sources that DKMS builds, the library that NVML's client
loads. DKMS itself is Debian's.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import rpms
from rpms import Rpm

DEBS = Path("/srv/lab/repository")
DRIVERS = ("580.126.09", "580.173.02", "595.71.05")
STREAMS = {"580-open": "580.", "580-dkms": "580.", "595-open": "595."}
TOOLKITS = ("1.19.1", "1.20.1")
# The first and the second kernel of a release.
KERNELS = {
    "9": (("5.14.0", "611.5.1.el9_7"), ("5.14.0", "611.9.1.el9_7")),
    "10": (("6.12.0", "124.8.1.el10_1"), ("6.12.0", "124.20.1.el10_1")),
}
DEVEL = "usr/src/kernels/{kernel}"
# As kernel-install does: the default kernel is the newest, and the hooks of DKMS build its modules.
KERNEL = """\
depmod {kernel}
dracut --force /boot/initramfs-{kernel}.img {kernel}
echo '{{"kernel": "{kernel}"}}' >/etc/lab-gpu.json
run-parts --arg={kernel} /etc/kernel/postinst.d || true
"""
DKMS_POST = """\
dkms add -m nvidia -v {version} || true
for build in /lib/modules/*/build; do
  if [ -e "$build" ]; then
    dkms install --force -m nvidia -v {version} -k "$(basename "$(dirname "$build")")" || true
  fi
done
"""
DKMS_PREUN = "dkms remove -m nvidia -v {version} --all || true\n"
DOCKER_POST = "getent group docker >/dev/null || groupadd --system docker\nsystemctl daemon-reload\n"
STREAM = """\
---
document: modulemd
version: 2
data:
  name: nvidia-driver
  stream: {stream}
  version: 20261101000000
  context: lab{number}
  arch: x86_64
  summary: NVIDIA driver (the lab's)
  description: NVIDIA driver (the lab's)
  license: {{module: [MIT]}}
  profiles: {{default: {{rpms: [nvidia-driver-cuda]}}}}
  artifacts:
    rpms:
{artifacts}
...
"""


def tree(aside: Path, pattern: str) -> Path:
    """Unpack the Debian package whose path matches, and return its folder."""
    path = sorted(DEBS.glob(pattern))[-1] if not pattern.startswith("/") else sorted(Path("/").glob(pattern[1:]))[-1]
    folder = aside / path.name
    if not folder.exists():
        rpms.run("dpkg-deb", "--extract", path, folder)
        for name in ("usr/share/doc", "etc/init.d", "etc/default"):  # Debian's own
            shutil.rmtree(folder / name, ignore_errors=True)
    return folder


def system(folder: Path, release: str, key: str) -> None:
    """Build the distribution's repository, and a second one with its update of the kernel."""
    dist = f"1.el{release}"
    base = folder / "BaseOS"
    rpms.build(base, Rpm("bash", "5.2", dist, provides=("/bin/sh", "/bin/bash")))
    provides = ("system-release", f"system-release(releasever) = {release}")
    rpms.build(base, Rpm("rocky-release", f"{release}.1", dist, provides=provides))
    # kernel-devel needs them, and this image contains Debian's.
    rpms.build(base, Rpm("gcc", "14", dist, provides=("make",)))
    for place, (version, build) in zip(("BaseOS", "updates"), KERNELS[release], strict=True):
        kernel, evr = f"{version}-{build}.x86_64", f"{version}-{build}"
        lists = {f"lib/modules/{kernel}/{name}": "" for name in ("modules.order", "modules.builtin", "kernel/README")}
        core = {f"boot/vmlinuz-{kernel}": kernel, **lists}
        scripts = {
            "posttrans": KERNEL.format(kernel=kernel),
            "postun": f"rm -rf /lib/modules/{kernel} /boot/initramfs-{kernel}.img\n",
        }
        only = ("installonlypkg(kernel)",)
        where = folder / place
        rpms.build(where, Rpm("kernel-core", version, build, provides=only, files=core, scripts=scripts))
        rpms.build(where, Rpm("kernel", version, build, requires=(f"kernel-core = {evr}",), provides=only))
        devel = {"posttrans": f"ln -sfn /{DEVEL.format(kernel=kernel)} /lib/modules/{kernel}/build\n"}
        devel |= {"post": f"ln -sfn /usr/src/lab-headers /{DEVEL.format(kernel=kernel)}\n" + devel.pop("posttrans")}
        devel |= {"postun": f"rm -f /{DEVEL.format(kernel=kernel)}\n"}
        rpms.build(
            where, Rpm("kernel-devel", version, build, requires=("gcc", "make"), provides=only, scripts=devel,
                       files={"usr/src/kernels/README": "the lab's\n"})
        )  # fmt: skip
        matched = (f"kernel-devel = {evr}", f"kernel-core = {evr}")
        rpms.build(where, Rpm("kernel-devel-matched", version, build, requires=matched))
    for place in ("BaseOS", "updates"):
        rpms.publish(folder / place, key)


def epel(folder: Path, release: str, key: str, aside: Path) -> None:
    """Build EPEL with Debian's DKMS."""
    content = tree(aside, "/var/cache/apt/archives/dkms_*.deb")
    requires = ("gcc", "make", "kernel-devel-matched")
    rpms.build(folder, Rpm("dkms", "3.2.2", f"1.el{release}", requires=requires[:2], tree=content))
    rpms.publish(folder, key)


def driver(folder: Path, release: str, version: str, aside: Path) -> list[Rpm]:
    """Build one release of the driver, and return its packages."""
    deb = "cuda/debian13/x86_64/{}_" + version + "-1_amd64.deb"
    made = []

    def add(name: str, requires: tuple[str, ...] = (), **more) -> Rpm:
        made.append(rpms.build(folder, Rpm(name, version, f"1.el{release}", epoch="3", requires=requires, **more)))
        return made[-1]

    same = f"= 3:{version}"
    for name, source, rival in (
        ("kmod-nvidia-open-dkms", "nvidia-kernel-open-dkms", "kmod-nvidia-latest-dkms"),
        ("kmod-nvidia-latest-dkms", "nvidia-kernel-dkms", "kmod-nvidia-open-dkms"),
    ):
        scripts = {"post": DKMS_POST.format(version=version), "preun": DKMS_PREUN.format(version=version)}
        provides, content = (f"nvidia-kmod {same}",), tree(aside, deb.format(source))
        add(name, ("dkms",), provides=provides, conflicts=(rival,), scripts=scripts, tree=content)
    add("nvidia-driver-cuda-libs", tree=tree(aside, deb.format("libnvidia-ml1")))
    add("nvidia-modprobe", tree=tree(aside, deb.format("nvidia-modprobe")))
    reload = {
        "post": "systemctl daemon-reload\n",
        "preun": "if [ $1 = 0 ]; then systemctl disable --now nvidia-persistenced; fi\n",
    }
    add("nvidia-persistenced", tree=tree(aside, deb.format("nvidia-persistenced")), scripts=reload)
    parts = ("nvidia-driver-cuda-libs", "nvidia-modprobe", "nvidia-persistenced", "nvidia-kmod")
    add(
        "nvidia-driver-cuda",
        tuple(f"{name} {same}" for name in parts),
        tree=tree(aside, deb.format("nvidia-driver-cuda")),
    )
    return made


def cuda(folder: Path, release: str, key: str, aside: Path) -> None:
    """Build NVIDIA's repository; EL 9's has module streams, and EL 10's has none."""
    made = {version: driver(folder, release, version, aside) for version in DRIVERS}
    modules = ""
    for number, (stream, branch) in enumerate(STREAMS.items() if release == "9" else ()):
        found = [each for version, packages in made.items() if version.startswith(branch) for each in packages]
        rival = "kmod-nvidia-latest-dkms" if stream.endswith("-open") else "kmod-nvidia-open-dkms"
        artifacts = "\n".join(f"      - {each.nevra}" for each in found if each.name != rival)
        modules += STREAM.format(stream=stream, number=number, artifacts=artifacts)
    rpms.publish(folder, key, modules)


def docker(folder: Path, release: str, key: str, aside: Path) -> None:
    """Build Docker's repository."""
    pool = "docker/linux/debian/pool/trixie/{}_*.deb"
    stop = {"preun": "if [ $1 = 0 ]; then systemctl disable --now docker.service docker.socket; fi\n"}
    requires = {"docker-ce": ("docker-ce-cli", "containerd.io")}
    rivals = {"containerd.io": ("runc", "containerd")}
    for name in ("docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "docker-compose-plugin"):
        scripts = {"post": DOCKER_POST, **stop} if name == "docker-ce" else None
        rpms.build(
            folder,
            Rpm(name, "26.1.5", f"1.el{release}", epoch="3" if name == "docker-ce" else "", scripts=scripts,
                requires=requires.get(name, ()), conflicts=rivals.get(name, ()), tree=tree(aside, pool.format(name))),
        )  # fmt: skip
    rpms.publish(folder, key)


def toolkit(folder: Path, key: str, aside: Path) -> None:
    """Build the repository of the container toolkit, one for all releases, whose packages are not signed."""
    for version in TOOLKITS:
        deb = "libnvidia-container/stable/deb/amd64/{}_" + version + "-1_amd64.deb"
        enable = (
            "systemctl daemon-reload\nsystemctl enable nvidia-cdi-refresh.path nvidia-cdi-refresh.service || true\n"
        )
        scripts = {"nvidia-container-toolkit-base": {"posttrans": enable}}
        requires = {
            "libnvidia-container-tools": (f"libnvidia-container1 >= {version}-1",),
            "nvidia-container-toolkit": (f"nvidia-container-toolkit-base = {version}-1", "libnvidia-container-tools"),
        }
        for name in (
            "libnvidia-container1",
            "libnvidia-container-tools",
            "nvidia-container-toolkit-base",
            "nvidia-container-toolkit",
        ):
            content = tree(aside, deb.format(name))
            made = Rpm(name, version, "1", requires=requires.get(name, ()), scripts=scripts.get(name), tree=content)
            rpms.build(folder, made)
    rpms.publish(folder, key)


def main(target: Path) -> int:
    """Build everything below `target`."""
    target.mkdir(parents=True, exist_ok=True)
    theirs, key = rpms.make_key("distribution"), rpms.make_key("vendors")
    public = rpms.exported(key)
    (target / "fingerprint").write_text(key)
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder)
        for release, file in (("9", "D42D0685.pub"), ("10", "CDF6BA43.pub")):
            system(target / f"rhel/{release}", release, theirs)
            epel(target / f"rhel/{release}/epel", release, theirs, aside)
            place = target / f"cuda/rhel{release}/x86_64"
            cuda(place, release, key, aside)
            (place / file).write_bytes(public)
            stable = target / f"docker/linux/centos/{release}/x86_64/stable"
            docker(stable, release, key, aside)
        shutil.copytree(target / "docker/linux/centos", target / "docker/linux/rhel")
        for name in ("centos", "rhel"):
            (target / f"docker/linux/{name}/gpg").write_bytes(public)
        toolkit(target / "libnvidia-container/stable/rpm/x86_64", key, aside)
        (target / "libnvidia-container/gpgkey").write_bytes(public)
        (target / "rhel/key").write_bytes(rpms.exported(theirs))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
