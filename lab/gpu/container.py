"""Build Docker's and the container toolkit's packages for the lab's repositories (repository.py)."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import packages
from packages import Package

HERE = Path(__file__).resolve().parent
TOOLKITS = ("1.16.0", "1.19.1", "1.20.1")
# Debian 13's engine is the newest in the lab's reach. It also runs on Debian 12, with Debian 12's runc.
ENGINE = {
    "docker-ce": "docker.io",
    "docker-ce-cli": "docker-cli",
    "containerd.io": "containerd",
    "docker-compose-plugin": "docker-compose",
}
DEPENDS = {"docker-ce": "docker-ce-cli, containerd.io, iptables, adduser, libsystemd0, tini", "containerd.io": "runc"}
START = {
    "docker-ce": "getent group docker >/dev/null || groupadd --system docker\n"
    "systemctl daemon-reload\nsystemctl enable docker.service docker.socket\n"
    "systemctl start docker.socket docker.service\n",
    "containerd.io": "systemctl daemon-reload\nsystemctl enable --now containerd.service\n",
}
# What debhelper does in the vendors' packages when they are removed and when they are purged.
END = {
    name: f'if [ "$1" = remove ]; then systemctl disable --now {units}; fi\n'
    for name, units in {"docker-ce": "docker.service docker.socket", "containerd.io": "containerd.service"}.items()
}
PURGED = {"docker-ce": 'if [ "$1" = purge ]; then update-rc.d docker remove; fi\n'}
SCRIPTS = {"postinst": START, "prerm": END, "postrm": PURGED}
REFRESH = """\
[Unit]
Description=Refresh NVIDIA CDI specification file (the lab's)

[Service]
Type=oneshot
# The toolkit creates the device nodes first; nothing else is guaranteed to do so.
ExecStartPre=-/usr/bin/nvidia-smi -L
ExecStart=/usr/bin/nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml

[Install]
WantedBy=multi-user.target
"""
ENABLE = """\
systemctl daemon-reload
systemctl enable --now nvidia-cdi-refresh.path nvidia-cdi-refresh.service || true
"""
WATCH = """\
[Unit]
Description=Trigger NVIDIA CDI refresh on driver changes (the lab's)

[Path]
PathChanged=/lib/modules/%v/modules.dep

[Install]
WantedBy=multi-user.target
"""


def docker(folder: Path, key: str, public: Path) -> None:
    """Build Docker's repository for each release of Debian."""
    with tempfile.TemporaryDirectory() as aside:
        Path(aside).chmod(0o755)
        trees = unpack(sorted(ENGINE.values()), Path(aside))
        for suite, release in (("bookworm", 12), ("trixie", 13)):
            pool = folder / f"linux/debian/pool/{suite}"
            ending = f"-1~debian.{release}~{suite}"
            for name, origin in ENGINE.items():
                engine = Package(
                    name,
                    ("5:" if name.startswith("docker-ce") else "") + "26.1.5" + ending,
                    depends=DEPENDS.get(name, ""),
                    fields=f"Conflicts: {origin}\nReplaces: {origin}",
                    scripts={script: texts[name] for script, texts in SCRIPTS.items() if name in texts},
                    tree=trees[origin],
                )
                packages.build(pool, engine)
            packages.build(pool, Package("docker-buildx-plugin", f"0.17.1{ending}"))
            packages.publish(folder / "linux/debian", key, suite=suite, pool=pool)
    shutil.copy(public, folder / "linux/debian/gpg")


def toolkit(folder: Path, key: str, public: Path) -> None:
    """Build the repository of the container toolkit, a flat one for all distributions."""
    deb = folder / "stable/deb/amd64"
    for version in TOOLKITS:
        one = f"{version}-1"
        base = {
            "usr/bin/nvidia-ctk": (HERE / "nvidia-ctk").read_text().replace("VERSION", version),
            "usr/bin/nvidia-container-runtime": '#!/bin/sh\nexec runc "$@"\n',
            "lib/systemd/system/nvidia-cdi-refresh.service": REFRESH,
            "lib/systemd/system/nvidia-cdi-refresh.path": WATCH,
        }
        tools = f"nvidia-container-toolkit-base (= {one}), libnvidia-container-tools (>= {one})"
        for package in (
            Package("libnvidia-container1", one),
            Package("libnvidia-container-tools", one, depends=f"libnvidia-container1 (>= {one})"),
            Package("nvidia-container-toolkit-base", one, files=base, scripts={"postinst": ENABLE}),
            Package("nvidia-container-toolkit", one, depends=tools),
        ):
            packages.build(deb, package)
    packages.publish(deb, key)
    shutil.copy(public, folder / "gpgkey")


def unpack(names: list[str], folder: Path) -> dict[str, Path]:
    """Download Debian 13's packages from the archive of this image's apt, unpack them, and return their folders."""
    archive = packages.run(
        "apt-get", "indextargets", "Created-By: Packages", "Label: Debian", "--format", "$(REPO_URI)", text=True
    ).split()[0]
    Path("/etc/apt/sources.list.d/trixie.list").write_text(f"deb {archive} trixie main\n")
    packages.run("apt-get", "update", "--quiet")
    # As root, because apt's sandbox user cannot write to this folder.
    packages.run(
        "apt-get", "download", "-o", "APT::Sandbox::User=root", *(f"{name}/trixie" for name in names), cwd=folder
    )
    trees = {}
    for path in folder.glob("*.deb"):
        name = path.name.partition("_")[0]
        trees[name] = folder / name
        packages.run("dpkg-deb", "--extract", path, trees[name])
        shutil.rmtree(trees[name] / "usr/share", ignore_errors=True)
    return trees
