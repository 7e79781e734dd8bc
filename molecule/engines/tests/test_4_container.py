"""The view from inside an engine's container, checked with the engine's rights."""

import json
import re
import socket

import pytest

HOSTS = ["roundhouse-containers"]  # the host with containers

RIGHTS = """
import glob, json
names = ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp", "Uid")
found = []
for path in glob.glob("/proc/[0-9]*/status"):
    said = dict(line.rstrip().split(":", 1) for line in open(path))
    found.append([said[name].split()[0] for name in names])
print(json.dumps(found))
"""
# The search does not descend into a writable folder, because its content is writable too.
WRITABLE = """
import json, os
found = []
for at, folders, files in os.walk("/"):
    folders[:] = [] if at in ("/proc", "/sys") else [name for name in folders if not os.path.islink(f"{at}/{name}")]
    if os.access(at, os.W_OK):
        found.append(at)
        folders.clear()
        continue
    found += [path for path in (f"{at}/{name}" for name in files) if os.path.isfile(path) and os.access(path, os.W_OK)]
print(json.dumps(sorted(found)))
"""
REACHES = """
import json, socket
try:
    socket.create_connection((%r, %d), timeout=3).close()
    print(json.dumps(True))
except OSError:
    print(json.dumps(False))
"""
RESOLVES = """
import json, socket
try:
    print(json.dumps(bool(socket.getaddrinfo("example.org", 443))))
except OSError:
    print(json.dumps(False))
"""


@pytest.fixture
def inside(host, plan, serving):
    """Return a function that runs Python code in the active agent's container, as its user, and parses its JSON."""
    (name,) = serving()

    def run(code):
        return json.loads(
            host.check_output("docker exec roundhouse-%s %s/bin/python -c %s", name, plan["engine_path"], code)
        )

    return run


def test_no_process_in_the_container_is_or_can_become_root(host, inside, serving):
    (name,) = serving()
    (uid,) = re.findall(r"uid=(\d+)", host.check_output("id roundhouse-%s", name))
    found = inside(RIGHTS)
    assert len(found) >= 3  # init, the API and the engine's core
    assert {tuple(each) for each in found} == {("0" * 16, "0" * 16, "0" * 16, "1", "2", uid)}


def test_only_its_own_cache_and_temporary_folders_are_writable(inside, serving):
    (name,) = serving()
    assert inside(WRITABLE) == ["/dev/mqueue", "/dev/shm", "/tmp", f"/var/cache/roundhouse/{name}"]


def test_the_environment_is_minimal_and_has_no_secret(host, serving, plan):
    (name,) = serving()
    (agent,) = [each for each in plan["agents"] if each["name"] == name]
    container = json.loads(host.check_output("docker inspect roundhouse-%s", name))[0]
    given = {line.partition("=")[0] for line in container["Config"]["Env"]}
    running = host.check_output("docker exec roundhouse-%s cat /proc/1/environ", name).split("\0")
    image = json.loads(host.check_output("docker image inspect %s", plan["image"]))[0]["Config"]["Env"] or []
    asked = {*agent["environment"], "HOME", "USER", *(line.partition("=")[0] for line in image)}
    assert given == asked
    assert {line.partition("=")[0] for line in running if line} <= asked | {"PATH", "HOSTNAME"}
    for line in running:
        assert not re.search(r"token|secret|passw|credential|api_?key", line, re.IGNORECASE), line


def test_the_container_sees_only_its_configuration_and_model_of_the_host(host, serving, plan):
    (name,) = serving()
    (agent,) = [each for each in plan["agents"] if each["name"] == name]
    mounts = json.loads(host.check_output("docker inspect roundhouse-%s", name))[0]["Mounts"]
    assert {each["Source"]: each["RW"] for each in mounts} == {
        agent["config_path"]: False,
        agent["model_path"]: False,
        plan["engine_path"]: False,
        f"/etc/roundhouse/roles/{name}": False,  # the defaults of its requests
        f"/var/cache/roundhouse/{name}": True,
    }


def test_the_container_reaches_nothing_beyond_the_host(host, inside):
    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104 - this machine, outside the lab's host
        beyond = host.check_output("ip -4 route show default").split()[2]
        code = REACHES % (beyond, listener.getsockname()[1])
        assert json.loads(host.check_output("python3 -c %s", code)) is True  # the host itself does reach it
        assert inside(code) is False
    assert inside(RESOLVES) is False
