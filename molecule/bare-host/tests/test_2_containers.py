"""A container gets access to its GPU by CDI, and keeps it."""

import json

import jinja2
import pytest
from conftest import ROOT

LOOK = "while :; do if (: </dev/nvidia0) 2>/dev/null; then echo yes; else echo no; fi; sleep 0.2; done"


@pytest.fixture(scope="module")
def container(host):
    """Start a container with the card, which logs whether it can open the card; return a function that reads this."""
    root = "/tmp/image"
    host.check_output(f"mkdir -p {root}/bin && cp /bin/busybox {root}/bin/sh && ln -sf sh {root}/bin/sleep")
    host.check_output(f"tar -C {root} -c . | docker import - lab")
    host.check_output("docker rm --force card bare 2>/dev/null; true")
    for name, option in (("card", "--device nvidia.com/gpu=all"), ("bare", "")):
        host.check_output(f"docker run --detach --name {name} {option} lab /bin/sh -c '{LOOK}'")

    def sees(name):
        host.run("sleep 1")  # until the container has checked again after the test's last step
        return host.check_output(f"docker logs --tail 1 {name}")

    yield sees
    host.check_output("docker rm --force card bare")


def pid(host):
    return host.check_output("docker inspect --format '{{.State.Pid}}' card")


def test_only_the_container_with_the_device_has_the_card(container):
    assert (container("card"), container("bare")) == ("yes", "no")


def test_the_container_keeps_the_card_after_a_daemon_reload(host, container):
    host.check_output("systemctl daemon-reload")
    assert container("card") == "yes"


def test_the_same_process_keeps_the_card_after_a_restart_of_docker(host, container):
    before = pid(host)
    host.check_output("systemctl restart docker")
    assert (container("card"), pid(host)) == ("yes", before)


def test_docker_starts_after_the_cdi_specification(host):
    assert "nvidia-cdi-refresh.service" in host.check_output("systemctl show docker --property After")


def test_the_specification_is_written_without_a_condition_on_devices(host):
    # systemd does not repeat a start that it skipped, so a boot where the driver is late would leave no specification.
    host.check_output("systemctl restart nvidia-cdi-refresh")
    shown = host.check_output("systemctl show nvidia-cdi-refresh --property Conditions --property ConditionResult")
    assert "nvidiactl" not in shown
    assert "ConditionResult=yes" in shown


def test_the_unit_before_the_agents_writes_a_missing_specification(host):
    template = jinja2.Template((ROOT / "roles/agents/templates/devices.service.j2").read_text())
    unit = "/run/systemd/system/lab-devices.service"
    text = template.render(agents_plan={"runtime": "compose", "accelerator": "cuda"}, ansible_managed="the lab")
    host.check_output("printf %s %s >" + unit, "%s", text)
    try:
        host.check_output("systemctl daemon-reload && systemctl stop nvidia-cdi-refresh && rm /run/cdi/nvidia.yaml")
        host.check_output("systemctl start lab-devices")
        written = host.check_output("stat --format %Y.%i /run/cdi/nvidia.yaml")
        assert "nvidia.com/gpu=all" in host.check_output("nvidia-ctk cdi list")
        host.check_output("systemctl start lab-devices")
        assert host.check_output("stat --format %Y.%i /run/cdi/nvidia.yaml") == written
    finally:
        host.check_output(f"rm {unit} && systemctl daemon-reload")


def test_published_ports_bind_to_loopback(host, container):
    host.check_output("docker run --detach --rm --name port --publish 19080:80 lab /bin/sh -c 'sleep 60'")
    try:
        bound = json.loads(host.check_output("docker inspect --format '{{json .NetworkSettings.Ports}}' port"))
    finally:
        host.check_output("docker rm --force port")
    assert [entry["HostIp"] for entry in bound["80/tcp"]] == ["127.0.0.1"]


def test_logs_rotate_and_compose_is_installed(host):
    assert host.check_output("docker info --format '{{.LoggingDriver}} {{.LiveRestoreEnabled}}'") == "local true"
    assert host.check_output("docker compose version --short")


def test_the_toolkit_has_one_release(host):
    names = "nvidia-container-toolkit nvidia-container-toolkit-base libnvidia-container-tools libnvidia-container1"
    assert set(host.check_output("dpkg-query --show --showformat='${Version}\n' " + names).split()) == {"1.20.1-1"}
