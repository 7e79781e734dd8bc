"""Preflight's table: all findings at once, problems that end the run, and warnings."""

import json
import shutil
import socket

import pytest
import tomllib
from machine import CARD

from roundhouse.agents import gpu_memory
from roundhouse.host import driver, receipt, system
from roundhouse.host.dpkg import Packages
from roundhouse.models import store as models_store
from roundhouse.paths import CHECKOUT
from roundhouse.provision import preflight, preflight_disk, preflight_host, preflight_row, preflight_table
from roundhouse.util.units import GIB
from roundhouse.vllm import kernels

NOTHING = Packages({}, [], [])
AGENT = {"name": "dev", "port": 1, "engine_port": 1, "gpus": [0], "model": "owner/name"}
AGENT |= {"model_path": "/nowhere/owner/name/main"}


@pytest.fixture
def rows(machine):
    """Return a function that returns the host's rows by their subject."""
    release = 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n'
    machine.write("etc/os-release", release)
    machine.write("proc/meminfo", "MemTotal: 33554432 kB\nMemFree: 1 kB\nMemAvailable: 16777216 kB\n")
    machine.write("usr/bin/apt-get", "")
    (machine.root / "run/systemd/system").mkdir(parents=True)

    def read(packages=NOTHING, cards=None, **settings):
        seen = driver.inspect(machine.root)
        seen = seen._replace(gpus=cards) if cards is not None else seen
        asked = wanted(machine.root)._replace(**settings)
        return {row.component: row for row in preflight_host.rows(seen, packages, asked, machine.root)}

    return read


def test_a_fresh_host_has_no_finding(rows):
    found = rows()
    assert found["system"].found == "Debian GNU/Linux 13 (trixie), x86_64"
    assert found["memory"].found == "32.0 GiB, 16.0 GiB available"
    assert found["cards"].found == "10de:2d04 blackwell"
    assert found["users of the cards"].found == "unknown until a driver is loaded"
    assert not any(row.problems or row.warnings for row in found.values())


def test_all_findings_come_at_once(machine, rows):
    shutil.rmtree(machine.root / "run/systemd/system")
    (machine.root / "usr/bin/apt-get").unlink()
    found = preflight.problems(list(rows(cards=[]).values()))
    parts = ("does not run systemd", "has no apt-get", "has no NVIDIA GPU")
    assert [part in sentence for part, sentence in zip(parts, found, strict=True)] == [True, True, True]


def test_the_cpu_needs_no_card(rows):
    assert "cards" not in rows(accelerator="cpu", cards=[])


def test_secure_boot_is_reported(machine, rows):
    assert rows()["Secure Boot"].found == "not reported by the firmware"
    machine.secure_boot(True)
    assert rows()["Secure Boot"].found == "on"


def test_other_processes_on_a_card_are_reported_with_their_memory(machine, rows):
    machine.load("580.173.02")
    processes = ("process 0 4242 4096 /usr/bin/ollama", "process 0 7 - /opt/vllm/bin/python")
    processes += ("graphics 0 1500 600 /usr/lib/xorg/Xorg", "graphics 0 1700 424 /usr/bin/gnome-shell")
    cards = machine.ask(
        "from roundhouse.host import driver; print(json.dumps(driver.inspect(root).gpus))", CARD, *processes
    )
    found = rows(cards=cards)["users of the cards"]
    assert found.found == "0.5 GiB in use"
    assert found.warnings == [
        f"/usr/bin/ollama (pid 4242) uses 4.0 GiB of card 0000:01:00.0, which agents lack. {gpu_memory.OLLAMA_CURE}",
        "A desktop (Xorg, gnome-shell) uses 1.0 GiB of card 0000:01:00.0; the plan leaves memory for it.",
    ]


def test_foreign_packages_and_sources_are_reported(machine, rows):
    machine.write("etc/apt/sources.list.d/nvidia-docker.list", "deb ...")
    there = Packages({"nvidia-driver": "535.261.03-1", "docker.io": "26.1.5"}, [], ["broken-one"])
    found = rows(there)["packages of others"]
    assert found.found == "nvidia-driver 535.261.03-1, docker.io 26.1.5, nvidia-docker.list"
    assert len(found.warnings) == 2
    machine.write("etc/roundhouse/nvidia_driver.json", "{}")
    assert "nvidia-driver" not in rows(there)["packages of others"].found


def test_a_docker_that_the_role_installed_is_not_of_others(machine, rows, monkeypatch):
    monkeypatch.setattr(receipt, "PATH", machine.root / "receipt.json")
    there = Packages({"docker-ce": "5:29.6.1-1"}, [], [])
    assert rows(there)["packages of others"].found == "docker-ce 5:29.6.1-1"
    receipt.PATH.write_text(json.dumps({"packages": ["docker-ce"], "held": [], "accounts": []}))
    assert rows(there)["packages of others"].found == "none"


def test_a_failed_package_of_others_is_refused_and_one_of_the_roles_is_not(machine, rows, monkeypatch):
    receipt_path = machine.root / "receipt.json"
    monkeypatch.setattr(receipt, "PATH", receipt_path)
    failed = ["stranger", "docker-ce", "nvidia-kernel-open-dkms"]
    there = Packages({}, [], [*failed, "unpacked"], failed)
    assert rows(there)["packages of others"].problems == [
        f"dpkg did not complete the installation of {name}. Run `dpkg --configure {name}`, or remove the package."
        for name in ("stranger", "docker-ce")
    ]
    receipt_path.write_text(json.dumps({"packages": ["docker-ce"], "held": [], "accounts": []}))
    found = rows(there)["packages of others"]
    assert ["stranger" in sentence for sentence in found.problems] == [True]
    assert found.warnings == [
        "Partly installed: docker-ce, nvidia-kernel-open-dkms, unpacked. The roles complete the installation."
    ]


def wanted(tmp_path, files=None, revision="main", **fit):
    store = tmp_path / "models"
    agent = {**AGENT, "model_path": str(store / "owner/name" / revision), "fit": fit or None}
    required = {"model": "owner/name", "revision": revision, "files": files, "serves": True}
    places = (str(tmp_path / "engine"), "python3", str(tmp_path / "quantize"), str(store))
    return preflight_host.Wanted([agent], [required], "cuda", *places)


def test_a_too_small_disk_is_reported_once_with_both_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(models_store, "free_bytes", lambda place: 10 * GIB)
    assert preflight_disk.row(wanted(tmp_path, weights_gib_per_rank=5.5)).problems == [
        f"The disk of {tmp_path}/engine and {tmp_path}/models has 10.00 GiB free but needs 21.50 GiB "
        "(the engine up to 16.00, owner/name up to 5.50). Free 11.50 GiB there (roundhouse prune), or set models_store "
        "to another disk."
    ]


def test_a_model_of_unknown_size_is_not_counted(tmp_path):
    (tmp_path / "engine").mkdir()
    assert preflight_disk.row(wanted(tmp_path)).problems == []


def test_a_locked_model_counts_its_bytes_minus_a_partial_download(tmp_path, monkeypatch):
    (tmp_path / "engine").mkdir()
    revision, free = "0123456789abcdef" * 2 + "01234567", 2 * GIB
    monkeypatch.setattr(models_store, "free_bytes", lambda place: free)
    asked = wanted(tmp_path, {"model.safetensors": f"{5 * GIB} sha256:00"}, revision, weights_gib_per_rank=1.0)
    assert preflight_disk.row(asked).problems == [
        f"{tmp_path}/models has 2.00 GiB free but needs 5.00 GiB (owner/name at 01234567 5.00). Free 3.00 "
        "GiB there (roundhouse prune), or set models_store to another disk."
    ]
    partial = models_store.partial(tmp_path / "models", "owner/name", revision)
    partial.mkdir(parents=True)
    with (partial / "model.safetensors.part").open("wb") as part:
        part.truncate(3 * GIB)
    assert preflight_disk.row(asked).problems == []
    free = 2 * GIB - 1
    assert len(preflight_disk.row(asked).problems) == 1
    part_name = partial / "model.safetensors.part"
    part_name.rename(partial / "model.safetensors")
    partial.rename(partial.with_name(revision))
    free = 3 * GIB
    assert preflight_disk.row(asked).problems == []


def test_a_planned_quantization_counts_with_its_base_and_environment(tmp_path, monkeypatch):
    (tmp_path / "engine").mkdir()
    monkeypatch.setattr(models_store, "free_bytes", lambda place: 20 * GIB)
    asked = wanted(tmp_path, {"model.safetensors": f"{15 * GIB} sha256:00"}, weights_gib_per_rank=5.0)
    agent = asked.agents[0] | {"quantize": "awq", "revision": "main", "model_path": f"{tmp_path}/models/quantized/a/b"}
    asked = asked._replace(agents=[agent], required_models=[asked.required_models[0] | {"serves": False}])
    (said,) = preflight_disk.row(asked).problems
    assert (
        "needs 36.00 GiB (the quantization environment up to 16.00, owner/name with awq up to 5.00, "
        "owner/name at main 15.00)" in said
    )
    assert [row.found for row in preflight._quantizing(asked._replace(accelerator="cpu"))] == ["owner/name with awq"]
    (tmp_path / "models/quantized/a/b").mkdir(parents=True)
    assert preflight_disk.row(asked).problems == []
    assert preflight._quantizing(asked) == []


def test_an_agents_missing_card_is_reported(tmp_path):
    agents = [{**AGENT, "gpus": [1]}]
    row = preflight._agents(wanted(tmp_path)._replace(agents=agents), 1)
    assert row.problems == ["agents[dev].gpus is [1], but this host has the GPUs 0 to 0: write those numbers."]


@pytest.mark.parametrize(
    ("agent", "flags", "said"),
    [
        (
            {"quantization": "awq"},
            "avx2",
            "agents[dev].quantization is awq: vLLM runs 4-bit",
        ),
        ({"quantize": "gptq"}, "avx2", "agents[dev].quantize is gptq: vLLM runs 4-bit"),
        ({"quantize": "gptq"}, "avx2 avx512f", None),
        ({"quantize": "int8"}, "avx2", None),
        ({"quantization": None, "quantize": None}, "avx2", None),
    ],
)
def test_a_format_without_a_kernel_for_the_cpu_is_reported(tmp_path, monkeypatch, agent, flags, said):
    monkeypatch.setattr(kernels, "CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n")
    asked = wanted(tmp_path)._replace(agents=[{**AGENT, **agent}])
    found = preflight._agents(asked._replace(accelerator="cpu"), 0).problems
    assert [one.startswith(said) for one in found] == ([True] if said else [])
    assert preflight._agents(asked, 0).problems == []


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"runtime": "native", "image": None}, "Set agents_runtime: compose."),
        ({"runtime": "compose", "image": None}, "Set container_image_source: registry."),
        ({"runtime": "compose", "image": "vllm/vllm-openai@sha256:00"}, None),
    ],
)
def test_arm64_needs_the_engine_from_an_image(rows, monkeypatch, settings, remedy):
    monkeypatch.setattr(system.platform, "machine", lambda: "aarch64")
    found = rows(**settings)["system"].problems
    assert [problem.endswith(remedy) for problem in found] == ([True] if remedy else [])


def test_another_architecture_is_refused(rows, monkeypatch):
    monkeypatch.setattr(system.platform, "machine", lambda: "riscv64")
    (problem,) = rows(runtime="compose", image="any")["system"].problems
    assert "architecture is riscv64, but Roundhouse supports only x86_64 and aarch64." in problem


@pytest.mark.parametrize(("version", "refused"), [((3, 8), True), ((3, 9), False), ((3, 14), False)])
def test_the_python_of_ansible_is_compared_with_the_minimum(version, refused):
    found = preflight._module_python(version, supported=True).problems
    assert ["needs 3.9 or later. Set ansible_python_interpreter" in problem for problem in found] == [True] * refused
    assert preflight._module_python(version, supported=False).problems == []


def test_the_minimum_python_equals_the_packages():
    stated = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert ">=" + ".".join(map(str, preflight.MODULE_PYTHON)) == stated


def test_the_table_marks_findings_that_end_the_run_and_fits_its_columns():
    rows = [
        preflight_row.Row("system", "Debian"),
        preflight_row.Row("cards", "none", ["No card."], ["A word."]),
        preflight_row.Row("driver", "none", action="install", reason="Driver branch 580, open kernel modules."),
    ]
    assert preflight_table.text([row.as_json() for row in rows], 44).splitlines() == [
        "component  action   found",
        "system              Debian",
        "cards      refuse   none",
        "                    ! No card.",
        "                    - A word.",
        "driver     install  none",
        "                    Driver branch 580, open",
        "                      kernel modules.",
    ]


def test_the_plan_fits_the_columns_and_a_bar_stays_whole():
    lines = ["  [##########] 15.5 GiB", "  one two three four five six", ""]
    assert preflight_table.fitted(lines, 22) == ["[##########] 15.5 GiB", "  one two three four", "    five six", ""]


@pytest.mark.parametrize(("name", "part"), [("no-such-python", "not in the host's PATH"), ("python3", None)])
def test_the_engines_python_is_looked_for(name, part):
    assert [part in said for said in preflight._python(name, preflight.ENGINE_PYTHON).problems] == (
        [True] if part else []
    )


def test_an_occupied_gateway_port_is_reported_with_its_setting(tmp_path):
    # Without agents, because other programs of this machine may use their ports.
    asked = wanted(tmp_path)._replace(agents=[])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        one, *_ = preflight._ports(asked._replace(gateway_port=port)).problems
        *_, metrics = preflight._ports(asked._replace(gateway_port=port - 100)).problems
    assert one.startswith(f"gateway_port is {port}, which ")
    assert metrics.startswith(f"gateway_port is {port - 100}, so its metrics port is {port}, which ")
    assert metrics.endswith("uses: stop that program, or write another port.")
