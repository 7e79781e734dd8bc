#!/usr/bin/python3
"""Put a stand-in host into a state that real hosts have: `lab-state STATE [ARGUMENT]`.

- fake-engine writes models and an archive of an image with the fake engine, as an owner without a registry would bring.
- break-dpkg installs a package whose configuration fails.
- lock-apt SECONDS holds the locks of apt and dpkg until SECONDS after the start of an apt-get.
- proxy lets only the proxy 127.0.0.1:3128 reach the vendors' repositories. Their URL is http://vendors.lab:8899.
- strangers [FEATURE] creates a Docker swarm, a published container and a daemon.json with that feature on, such as cdi.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOCKS = ("/var/lib/apt/lists/lock", "/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock")
ARCHIVE = "/var/lib/lab/engine.tar"  # on the disk, which a reboot does not clear
VENDORS, BEHIND = "http://vendors.lab:8899", "http://127.0.0.1:8898"
DAEMON = {"log-driver": "json-file", "log-opts": {"max-size": "9m"}, "dns": ["9.9.9.9"]}
CONTROL = """\
Package: stranger
Version: 1.0
Architecture: all
Maintainer: the lab <lab@localhost>
Description: a package whose configuration fails
"""


def run(*command: str | Path, **options) -> None:
    """Run a program. Raises CalledProcessError."""
    subprocess.run(command, check=True, **options)


def break_dpkg() -> None:
    """Install a package whose configuration fails."""
    root = Path("/var/lib/lab/stranger")
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(CONTROL)
    (root / "DEBIAN/postinst").write_text("#!/bin/sh\necho 'stranger: no licence' >&2\nexit 1\n")
    (root / "DEBIAN/postinst").chmod(0o755)
    run("dpkg-deb", "--build", root, "/var/lib/lab/stranger.deb")
    subprocess.run(["dpkg", "--install", "/var/lib/lab/stranger.deb"], check=False)


def fake_engine() -> None:
    """Write the models of three agents, and an archive of an image: the host's own Python with the fake engine."""
    for agent in ("architect", "dev", "po"):
        run("/usr/bin/python3", "/opt/lab-fake/model.py", f"/var/lib/lab/models/{agent}")
    root = Path("/var/lib/lab/engine")
    (root / "usr/local/bin").mkdir(parents=True)
    for name in ("vllm", "api.py", "engine.py", "text.py"):
        shutil.copy(f"/opt/lab-fake/{name}", root / "usr/local/bin")
        (root / "usr/local/bin" / name).chmod(0o755)
    parts = "usr/bin/python3* usr/bin/env usr/lib/python3* usr/lib/x86_64-linux-gnu usr/lib64"
    parts += " bin lib lib64 etc/ld.so.cache"  # links into usr, and the cache of the loader
    run("sh", "-c", f"cd / && tar -cf {root}/layer.tar {parts} -C {root} usr")
    shutil.rmtree(root / "usr")
    # As `docker save` writes it. The host may have no Docker yet.
    digest = hashlib.sha256((root / "layer.tar").read_bytes()).hexdigest()
    layers = {"type": "layers", "diff_ids": [f"sha256:{digest}"]}
    image = {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]}}
    (root / "config.json").write_text(json.dumps(image | {"rootfs": layers}))
    tags = {"Config": "config.json", "RepoTags": ["lab-engine:latest"], "Layers": ["layer.tar"]}
    (root / "manifest.json").write_text(json.dumps([tags]))
    run("tar", "-C", root, "-cf", ARCHIVE, "manifest.json", "config.json", "layer.tar")
    shutil.rmtree(root)


def lock_apt(seconds: str) -> None:
    """Hold the locks until some seconds after the first apt-get starts, which the run's speed does not change."""
    with contextlib.ExitStack() as held:
        for path in LOCKS:
            fcntl.lockf(held.enter_context(Path(path).open("w")), fcntl.LOCK_EX)
        end = time.monotonic() + 600  # a bound, if no apt-get starts
        while not _runs("apt-get") and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(float(seconds))


def _runs(program: str) -> bool:
    """Return true if a process has this name."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it has ended
            if path.read_text().strip() == program:
                return True
    return False


def proxy() -> None:
    """Move the repositories behind the proxy, and rename them in the owner's apt sources."""
    run("systemctl", "disable", "--now", "--quiet", "lab-repository.service")
    server = ["-m", "http.server", "--bind", "127.0.0.1", "--directory", "/srv/lab/repository", "8898"]
    run("systemd-run", "--quiet", "--unit=lab-behind-proxy", "/usr/bin/python3", *server)
    run("systemd-run", "--quiet", "--unit=lab-proxy", "/usr/bin/python3", "/usr/local/sbin/lab-state", "serve-proxy")
    for source in Path("/etc/apt/sources.list.d").iterdir():
        source.write_text(source.read_text().replace("http://127.0.0.1:8899", VENDORS))


def serve_proxy() -> None:
    """Forward requests; only this program knows where the vendors are."""

    class Forward(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = {name: self.headers[name] for name in ("Range", "If-Range") if self.headers[name]}
            # apt and the roles ask only for http URLs.
            request = urllib.request.Request(self.path.replace(VENDORS, BEHIND), headers=wanted)  # noqa: S310 - http
            try:
                answer = urllib.request.urlopen(request, timeout=60)  # noqa: S310 - http
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                self.send_response(answer.status)
                for name in ("Content-Length", "Content-Type", "Content-Range", "Last-Modified"):
                    if answer.headers[name]:
                        self.send_header(name, answer.headers[name])
                self.end_headers()
                self.wfile.write(answer.read())

    ThreadingHTTPServer(("127.0.0.1", 3128), Forward).serve_forever()


def strangers(feature: str = "") -> None:
    """Create other people's swarm, container and daemon.json, which turns a feature on."""
    Path("/etc/docker").mkdir(exist_ok=True)
    features = {"features": {feature: True}} if feature else {}
    Path("/etc/docker/daemon.json").write_text(json.dumps(DAEMON | features, indent=4) + "\n")
    run("systemctl", "restart", "docker")
    run("docker", "swarm", "init", "--advertise-addr", "127.0.0.1", stdout=subprocess.DEVNULL)
    root = Path("/var/lib/lab/image")
    (root / "bin").mkdir(parents=True)
    (root / "bin/sh").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "bin/sh").chmod(0o755)
    run("sh", "-c", f"tar -C {root} -c . | docker import - strangers >/dev/null")
    sleep = ["strangers", "/bin/sh", "-c", "while :; do read -t 60 x; done"]
    run("docker", "run", "--detach", "--interactive", "--name=strangers", "--publish=19090:80", *sleep)


if __name__ == "__main__":
    states = {"break-dpkg": break_dpkg, "fake-engine": fake_engine, "lock-apt": lock_apt, "proxy": proxy}
    {**states, "strangers": strangers, "serve-proxy": serve_proxy}[sys.argv[1]](*sys.argv[2:])
