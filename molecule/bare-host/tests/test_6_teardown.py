"""Teardown restores the host, both a bare one and one with its own container engine, containers and apt sources."""

import json

import pytest

ONLY = "trixie"  # the earlier tests changed nothing on this host
BEFORE = "/var/lib/lab-before.json"
OWN = '{\n    "dns": ["9.9.9.9"],   "features": {"cdi": false, "buildkit": true},\n    "live-restore": true\n}\n'
SOURCE = "# mine\ndeb [trusted=yes] http://127.0.0.1:8899/mine ./\n"
# As NVIDIA documents it, with $(ARCH) and a key file of its own.
TOOLKIT = (
    "deb [signed-by=/usr/share/keyrings/theirs.asc] http://127.0.0.1:8899/libnvidia-container/stable/deb/$(ARCH) /\n"
)
FETCH = (
    "import urllib.request; urllib.request.urlretrieve('http://127.0.0.1:8899/libnvidia-container/gpgkey', '{path}')"
)


def compared(host, before=BEFORE):
    """Return the changes since the snapshot as text, because pytest truncates a list."""
    return host.run(f"lab-snapshot compare {before}").stdout.strip()


@pytest.mark.parametrize("option", ["--check", "--tags=preview"])
def test_a_preview_lists_what_is_removed_and_removes_nothing(host, play, said, option):
    result = play("teardown.yml", option)
    assert result.returncode == 0, result.stdout
    for part in ("packages: ", "docker-ce", "nvidia-driver-cuda", "/etc/apt/sources.list.d/roundhouse-docker.sources"):
        assert part in said(result)
    assert host.package("docker-ce").is_installed
    assert host.file("/etc/roundhouse").exists


def test_a_bare_host_is_bare_again(host, play, said):
    result = play("teardown.yml")
    assert result.returncode == 0, result.stdout
    assert not compared(host)
    for part in ("removed packages: ", "removed folders: ", "kept: Packages and files that were there before"):
        assert part in said(result)


def test_a_second_teardown_changes_nothing(host, play, said):
    for result in (play("teardown.yml"), play("teardown.yml", teardown_models=True, teardown_packages=False)):
        assert result.returncode == 0, result.stdout
        assert "changed=0" in result.stdout
        assert "Roundhouse is not installed on this host." in said(result)


@pytest.fixture
def own(host):
    """Install a container engine with a container, and an apt source; return the container's id and start time."""
    host.check_output("DEBIAN_FRONTEND=noninteractive apt-get install -y -q docker.io docker-cli docker-compose")
    host.check_output("printf %s %s > /etc/docker/daemon.json", "%s", OWN)
    host.check_output("printf %s %s > /etc/apt/sources.list.d/mine.list", "%s", SOURCE)
    host.check_output("printf %s %s > /etc/apt/sources.list.d/nvidia-container-toolkit.list", "%s", TOOLKIT)
    host.check_output("python3 -c %s", FETCH.format(path="/usr/share/keyrings/theirs.asc"))
    host.check_output("systemctl restart docker")
    host.check_output("cd /usr && tar -c --dereference bin/sleep lib/x86_64-linux-gnu/libc.so.6 lib64 | "
                      "docker import --change 'ENTRYPOINT [\"/bin/sleep\"]' - mine")  # fmt: skip
    host.check_output("docker run --detach --name mine --network none mine 86400")
    host.check_output("lab-snapshot take /var/lib/lab-own.json")
    return host.check_output("docker inspect --format '{{.Id}} {{.State.StartedAt}}' mine")


def test_the_hosts_own_engine_and_files_are_kept_and_restored(host, own, play, said):
    deployed = play("roles.yml")
    assert deployed.returncode == 0, deployed.stdout
    assert "gets features.cdi, and Docker is restarted, and its containers continue" in said(deployed)
    # Only the flag of CDI has changed, no repository was added, and apt still works.
    merged = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert merged == {**json.loads(OWN), "features": {"cdi": True, "buildkit": True}}
    assert "docker-ce" not in host.check_output("dpkg-query --show --showformat='${Package} '")
    added = host.check_output("ls /etc/apt/sources.list.d")
    assert "roundhouse-docker" not in added
    assert "roundhouse-nvidia-container-toolkit" not in added
    host.check_output("apt-get indextargets")
    assert host.check_output("docker inspect --format '{{.Id}} {{.State.StartedAt}}' mine") == own
    assert "changed=0" in play("roles.yml").stdout
    result = play("teardown.yml")
    assert result.returncode == 0, result.stdout
    assert not compared(host, "/var/lib/lab-own.json")
    assert host.file("/etc/docker/daemon.json").content_string == OWN
    assert host.check_output("docker inspect --format '{{.Id}} {{.State.StartedAt}}' mine") == own
