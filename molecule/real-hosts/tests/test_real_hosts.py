"""Each host of the table ends as its row says: serving, with its owner's parts kept, or refused without a change."""

from __future__ import annotations

import json
import re

from conftest import STATE, booted, boots, docker, play

# The host's own programs, as a user of the card would call them.
NVML = "python3 -c \"import ctypes; raise SystemExit(ctypes.CDLL('libnvidia-ml.so.1').nvmlInitWithFlags(0))\""
OTHERS = "docker ps --format '{{.ID}} {{.Names}}' | grep -v ' roundhouse-' | cut -d ' ' -f 1"
CONTAINERS = (
    f"{OTHERS} | xargs -r docker inspect --format '{{{{.Id}}}} {{{{.State.StartedAt}}}} {{{{.NetworkSettings.Ports}}}}'"
)
# The keys of daemon.json that the toolkit needs.
TOOLKIT = {"features", "runtimes"}
AGENTS = ("architect", "dev", "po")
ARCHIVE = "/var/lib/lab/engine.tar"  # of state.py
JSON = {"Content-Type": "application/json"}
IMAGE = (
    "mkdir -p /tmp/image/bin && cp /bin/busybox /tmp/image/bin/sh && tar -C /tmp/image -c . | docker import - lab-image"
    " >/dev/null"
)
SEES = "timeout 120 docker run --rm --network none --device nvidia.com/gpu=all lab-image /bin/sh -c ': </dev/nvidia0'"


def reason(output: str) -> str:
    """Return the error of a failed run without Ansible's framing."""
    found = re.search(
        r"\[ERROR\]: Task failed: (?:Action failed: |Module failed: )?(.*?)(?: Origin: | fatal: |$)", output
    )
    return found[1] if found else output[-600:]


def failure(output: str) -> str:
    """Return a failed run's output from its first error on."""
    return output[output.find("[ERROR]") :]


def owned(host, kept: list[str]) -> dict[str, object]:
    """Return what belongs to the owner: kept packages, apt sources, and the settings and containers of Docker."""
    sources = (
        "cd /etc/apt && cat sources.list; find sources.list.d -type f -not -name 'roundhouse-*' | sort | xargs -r cat"
    )
    found: dict[str, object] = {"sources": host.run(sources).stdout}
    for name in kept:
        found[name] = host.run("dpkg-query --show --showformat='${Version}' %s", name).stdout
    if "docker" in " ".join(kept):
        settings = host.run("cat /etc/docker/daemon.json").stdout or "{}"
        found["daemon.json"] = {key: value for key, value in json.loads(settings).items() if key not in TOOLKIT}
        found["containers"] = host.run(CONTAINERS).stdout
    return found


def took_part(host) -> str:
    """Return the real programs that took part since the start of the row, by their traces on the host."""
    traces = {
        "apt and dpkg": "test /var/log/apt/history.log -nt /var/lib/lab/row",
        "a DKMS build": "find /var/lib/dkms/nvidia -name make.log -newer /var/lib/lab/row | grep -q .",
        "update-initramfs": "find /boot -name 'initrd*' -newer /var/lib/lab/row | grep -q .",
        "dockerd and a container": "docker info --format '{{.ServerVersion}}'",
    }
    return ", ".join(name for name, command in traces.items() if host.run(command).rc == 0)


def uses_the_card(host, settings: dict[str, object]) -> None:
    """Check that NVML answers, that the card opens, and that a container with the CDI device opens it."""
    host.check_output(NVML)
    host.check_output(": </dev/nvidia0")
    if settings.get("agents_runtime") == "native":
        return
    host.check_output(IMAGE)
    host.check_output(SEES)


def with_agents(host) -> dict[str, object]:
    """Return the settings of three agents in containers, from the archive of `lab-state fake-engine`."""
    common = {"max_model_len": 4096, "gpu_memory_utilization": 0.9, "temperature": 0.3, "top_p": 0.95}
    common |= {"enforce_eager": True}  # the fake engine compiles nothing
    agents = [
        {"name": name, "port": 8000 + number, "models": [{"model": f"/var/lib/lab/models/{name}"}], **common}
        for number, name in enumerate(AGENTS)
    ]
    checksum = host.check_output("sha256sum %s", ARCHIVE).split()[0]
    image = {"container_image_archive": ARCHIVE, "container_image_archive_sha256": checksum}
    return {"agents": agents, "container_image_source": "archive", **image}


def answering(host) -> list[str]:
    """Switch to each agent, and return those that answer a request."""
    return [name for name in AGENTS if host.run(f"roundhouse {name}").rc == 0 and asked(host, name)]


def asked(host, name: str) -> bool:
    """Return whether an agent answers through its own port."""
    body = json.dumps({"model": name, "prompt": "go on", "max_tokens": 2})
    url = f"http://127.0.0.1:{8000 + AGENTS.index(name)}/v1/completions"
    request = f"u.Request({url!r}, {body.encode()!r}, {JSON!r})"
    code = f"import urllib.request as u; print(u.urlopen({request}, timeout=60).status)"
    return host.run("python3 -c %s", code).stdout.strip() == "200"


def test_the_host_ends_as_its_row_says(host, row, words, record_property):
    name = host.backend.hostname
    record_property("start", row["start"])
    settings = row.get("settings", {}) | (with_agents(host) if row.get("agents") else {})
    playbook = "site.yml" if row.get("agents") else "playbooks/host.yml"
    if "fails" in row:
        assert play(name, settings | row["fails"]).status == 2
    before, kept, booted_before = host.check_output(STATE), owned(host, row.get("kept", [])), boots(host)
    host.check_output("touch /var/lib/lab/row")
    if "during" in row:
        host.check_output(row["during"])
    first = play(name, settings, *words, playbook=playbook)
    record_property("seconds", round(first.seconds))
    record_property("reboots", boots(host) - booted_before)
    record_property("outcome", "refused" if first.status else "serves")
    record_property("text", reason(first.output) if first.status else "")
    record_property("first", first.changed)
    if "refused" in row:
        assert first.status == 2
        assert re.search(row["refused"], failure(first.output))
        assert host.check_output(STATE) == before
        assert first.changed == 0
        return
    assert first.status == 0, reason(first.output)
    uses_the_card(host, settings)
    if row.get("agents"):
        served = answering(host)
        record_property("agents", " ".join(served))
        assert served == [*AGENTS]
    assert boots(host) - booted_before <= row.get("reboots", 0)
    record_property("real", took_part(host))
    second = play(name, settings, *words, playbook=playbook)
    record_property("second", second.changed)
    assert (second.status, second.changed) == (0, 0), reason(second.output)
    assert owned(host, row.get("kept", [])) == kept
    assert re.search(row.get("prints", ""), second.output)
    if row.get("again"):
        reboot(host)
        # Without the agents: their image is in the host's memory.
        uses_the_card(host, settings)


def reboot(host) -> None:
    """Reboot the host and wait for the end of its boot."""
    before = boots(host)
    docker("restart", host.backend.hostname)
    booted(host, before)
