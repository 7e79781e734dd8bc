"""An agent's Compose file: the container's permissions, and its access to a card on each kind of host."""

import json
import re
import subprocess

import jinja2
import pytest

from roundhouse.agents import containers
from roundhouse.catalog.gpus import HostCard
from roundhouse.errors import UsageError
from roundhouse.host import control_group
from roundhouse.host import docker as docker_of_host
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.plan import build as plan_build
from roundhouse.plan import compose, decide
from roundhouse.plan.compose import Means
from roundhouse.provision import agent_files

CARDS = tuple(HostCard(number, "a card", 15.5, (12, 0), 448.0) for number in range(2))
WITH_UUIDS = tuple(card._replace(uuid=f"GPU-{letter}") for card, letter in zip(CARDS, "ab", strict=True))
AGENT = {
    "name": "dev",
    "models": [{"model": "/srv/m1"}],
    "port": 8001,
    "max_model_len": 4096,
    "gpu_memory_utilization": 0.9,
    "temperature": 0.3,
    "top_p": 0.95,
    "policy": "exact",
    "gpus": [1],
}


def build(means, accelerator="cuda", on=CARDS, **changed):
    settings = plan_build.Settings(accelerator, "/opt/e", "/srv/m", 900, runtime="compose", image="i@sha256:1")
    return plan_build.build([AGENT], settings._replace(**changed), decide.Host(on, means=means))


def service(made):
    return made["agents"][0]["compose"]["services"]["engine"]


def cards(means, on=WITH_UUIDS):
    devices = service(build(means, on=on)).get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices")
    return devices and [(each["driver"], each["device_ids"]) for each in devices]


def test_a_card_comes_by_cdi_under_its_own_name_else_by_number_else_by_the_older_runtime():
    everything = ("nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=GPU-b", "nvidia.com/gpu=all")
    assert cards(Means(everything, ("nvidia", "runc"))) == [("cdi", ["nvidia.com/gpu=GPU-b"])]
    assert cards(Means(everything[:2], ("nvidia",))) == [("cdi", ["nvidia.com/gpu=1"])]
    assert cards(Means((), ("nvidia", "runc"))) == [("nvidia", ["GPU-b"])]
    assert cards(Means((), ("nvidia",)), CARDS) == [("nvidia", ["1"])]
    assert cards(Means((), ("runc",))) is None


def test_nothing_is_downloaded_while_no_way_to_a_card_is_known():
    (sentence,) = build(Means())["waiting"][-1:]
    assert sentence.startswith("agents_runtime is compose, but this host's container engine has neither the CDI device")
    assert "native" in sentence
    assert build(Means(("nvidia.com/gpu=all",)))["waiting"] == build(Means((), ("nvidia",)))["waiting"]
    assert build(Means(), "cpu")["agents"][0]["compose"]["services"]["engine"].get("deploy") is None


def test_a_container_counts_its_own_cards_from_0():
    environment = service(build(Means(("nvidia.com/gpu=1",))))["environment"]
    assert "CUDA_VISIBLE_DEVICES" not in environment
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "NVIDIA_VISIBLE_DEVICES" not in service(build(Means((), ("nvidia",))))["environment"]


def test_only_its_own_cache_and_tmp_are_writable_and_nothing_is_root_s():
    made = service(build(Means()))
    assert [each["target"] for each in made["volumes"] if not each.get("read_only")] == ["/var/cache/roundhouse/dev"]
    # The folder, because a mounted file would stay the old one after its replacement.
    assert "/etc/roundhouse/roles/dev" in [each["source"] for each in made["volumes"]]
    assert made["environment"]["PYTHONPATH"] == "/etc/roundhouse/roles/dev"
    assert (made["read_only"], made["cap_drop"], made["restart"]) == (True, ["ALL"], "no")
    assert made["security_opt"] == ["no-new-privileges:true"]
    assert 1000 < made["pids_limit"] <= 32768
    assert made["ports"] == ["127.0.0.1:8001:8001"]
    assert not any("docker.sock" in each["source"] for each in made["volumes"])


def test_the_engine_of_a_hosts_own_image_is_shown_to_it_and_a_registrys_has_one():
    own, foreign = (service(build(Means(), image_has_engine=has)) for has in (False, True))
    assert own["entrypoint"] == ["/opt/e/bin/vllm", "serve"]
    assert {"type": "bind", "source": "/opt/e", "target": "/opt/e", "bind": {"create_host_path": False}} | {
        "read_only": True
    } in own["volumes"]
    assert foreign["entrypoint"] == ["vllm", "serve"]
    assert not any(each["source"] == "/opt/e" for each in foreign["volumes"])


def test_compose_finds_no_variable_of_its_own_in_a_path():
    made = service(build(Means(), engine_path="/opt/e$1", image_has_engine=False))
    assert "/opt/e$$1" in [each["source"] for each in made["volumes"]]


def test_a_docker_with_selinux_labels_runs_the_engine_without_one(monkeypatch):
    info = {"SecurityOptions": ["name=seccomp,profile=builtin", "name=selinux"]}
    monkeypatch.setattr(docker_of_host, "info", lambda: info)
    monkeypatch.setattr(docker_of_host.process, "output", lambda *command: None)
    assert docker_of_host.means()["labels"]
    assert service(build(Means(labels=True)))["security_opt"] == ["no-new-privileges:true", "label=disable"]
    info["SecurityOptions"].pop()
    assert not docker_of_host.means()["labels"]


def test_a_container_asks_for_no_more_open_files_than_the_host_may_give():
    assert service(build(Means(open_files=20000)))["ulimits"]["nofile"] == 20000
    assert service(build(Means(open_files=1048576)))["ulimits"]["nofile"] == compose.OPEN_FILES


def test_the_native_plan_has_no_container():
    made = build(Means(), runtime="native")
    assert (made["runtime"], made["image"]) == ("native", None)
    assert "compose" not in made["agents"][0]
    with pytest.raises(UsageError) as error:
        build(Means(), runtime="podman")
    assert (error.value.code, error.value.fields["value"]) == ("unknown_runtime", "podman")


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("0::/system.slice/roundhouse-dev.service", "roundhouse-dev.service"),
        ("0::/roundhouse.slice/roundhouse-dev.slice/docker-12ab.scope", "roundhouse-dev.service"),
        (
            "0::/roundhouse.slice/roundhouse-my.slice/roundhouse-my-dev.slice/docker-12.scope",
            "roundhouse-my-dev.service",
        ),
        ("9:name=systemd:/docker/00/roundhouse-dev.slice/12ab", "roundhouse-dev.service"),
        ("0::/user.slice/user-0.slice/session-1.scope", None),
    ],
)
def test_a_containers_process_belongs_to_its_agents_unit(path, unit):
    assert control_group.unit_in(path) == unit


@pytest.mark.parametrize("runtime", ["native", "compose"])
def test_every_line_of_a_unit_is_a_setting_of_its_own(runtime):
    """Jinja drops the last line break of an included template, which could join two settings."""
    made = build(Means(), runtime=runtime)
    loader = jinja2.FileSystemLoader(ROOT / "roles/agents/templates")
    # As in Ansible: no escaping, and an included template loses its last line break.
    templates = jinja2.Environment(loader=loader, trim_blocks=True)  # noqa: S701 - no HTML
    text = templates.get_template("agent.service.j2").render(
        ansible_managed="Ansible managed", agents_plan=made, **agent_files.variables(made["agents"][0])
    )
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "["))]
    assert all(re.match(r"[A-Z][A-Za-z]+=[^#]*$", line) for line in lines), text
    assert ("ExecStart=/usr/bin/docker start --attach roundhouse-dev" in lines) == (runtime == "compose")


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """Put a docker on the PATH that answers from files and records its arguments."""
    (tmp_path / "docker").write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n'
        f'case "$*" in *label=*) cat {tmp_path}/on-card;; *name=*) cat {tmp_path}/named;; '
        f"info*) cat {tmp_path}/info;; esac\n"
    )
    (tmp_path / "docker").chmod(0o755)
    for name in ("on-card", "named", "info"):
        (tmp_path / name).touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_containers_of_a_lost_engine_are_removed_once(docker):
    (docker / "named").write_text("roundhouse-dev\n")
    (docker / "on-card").write_text("roundhouse-po\nroundhouse-dev\n")
    assert containers.clear({"name": "dev", "gpus": [0]}) == ["roundhouse-dev", "roundhouse-po"]
    removed = [line for line in (docker / "asked").read_text().splitlines() if line.startswith("rm ")]
    assert removed == ["rm --force --volumes roundhouse-dev", "rm --force --volumes roundhouse-po"]


def test_an_engine_without_cdi_offers_no_cdi_device(docker):
    subprocess.run(["ln", "-s", "/bin/true", docker / "nvidia-ctk"], check=True)
    (docker / "info").write_text(
        json.dumps({"ServerVersion": "26.1.5", "CDISpecDirs": [], "Runtimes": {"runc": {}, "nvidia": {}}})
    )
    found = docker_of_host.means()
    assert (found["cdi"], found["runtimes"]) == ([], ["nvidia", "runc"])
    (docker / "nvidia-ctk").unlink()
    (docker / "nvidia-ctk").write_text("#!/bin/sh\necho nvidia.com/gpu=all\n")
    (docker / "nvidia-ctk").chmod(0o755)
    (docker / "info").write_text(
        json.dumps({"ServerVersion": "26.1.5", "CDISpecDirs": ["/etc/cdi"], "Runtimes": {"runc": {}}})
    )
    assert docker_of_host.means()["cdi"] == ["nvidia.com/gpu=all"]
