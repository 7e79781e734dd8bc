"""GPUs are found in sysfs without a driver, and through NVML with one."""

import json
import subprocess
import sys
import tarfile

import pytest

from roundhouse.host import gpu, gpu_problem, gpu_process
from roundhouse.provision import bundle

CARD = "gpu 0000:01:00.0 2d04 16311 512 12.0 on GPU-5f1c NVIDIA GeForce RTX 5060 Ti"


def test_without_a_pci_bus_there_is_no_gpu(tmp_path):
    assert gpu.facts(tmp_path)["gpus"] == []
    assert gpu.facts(tmp_path)["driver_version"] is None


def test_only_nvidias_vga_and_3d_functions_count(sysfs):
    sysfs("0000:01:00.0", "0x10de", "0x2d04", "0x030000", "nouveau")
    sysfs("0000:01:00.1", "0x10de", "0x22eb", "0x040300")  # its audio function
    sysfs("0000:02:00.0", "0x10de", "0x20b2", "0x030200")
    sysfs("0000:03:00.0", "0x1002", "0x744c", "0x030000")  # another vendor
    assert [(card["address"], card["device_id"], card["driver"]) for card in gpu.facts(sysfs.root)["gpus"]] == [
        ("0000:01:00.0", "2d04", "nouveau"),
        ("0000:02:00.0", "20b2", None),
    ]


def test_without_a_driver_a_cards_family_is_known_and_nothing_is_guessed(sysfs, facts):
    sysfs("0000:01:00.0", "0x10de", "0x2d04", "0x030000")
    told = facts()
    assert told["nvml"] == {"driver_version": None, "error": 9}  # NVML_ERROR_DRIVER_NOT_LOADED
    assert told["gpus"] == [
        {
            "address": "0000:01:00.0",
            "device_id": "2d04",
            "driver": None,
            "architecture": "blackwell",
            "compute_capability": [12, 0],
            "name": None,
            "uuid": None,
            "memory_gib": None,
            "used_gib": None,
            "display_active": None,
            "mig": None,
            "processes": None,
            "number": 0,
            "error": None,
            "unified": False,
        }
    ]


@pytest.mark.parametrize(
    ("device_id", "family"),
    [
        ("2d04", ("blackwell", [12, 0])),  # RTX 5060 Ti
        ("2e12", ("blackwell", [12, 1])),  # GB10
        ("2684", ("ada", [8, 9])),  # RTX 4090
        ("20b2", ("ampere", [8, 0])),  # A100
        ("2204", ("ampere", [8, 6])),  # RTX 3090
        ("1eb8", ("turing", [7, 5])),  # T4
        ("1db1", ("pre-turing", None)),  # V100
        ("1b06", ("pre-turing", None)),  # GTX 1080 Ti
        ("3f00", (None, None)),  # does not exist yet
    ],
)
def test_a_cards_family_is_in_its_device_id(device_id, family):
    assert gpu.architecture(device_id) == family


def test_the_driver_completes_the_facts(sysfs, facts):
    sysfs("0000:01:00.0", "0x10de", "0x2d04", "0x030000", "nvidia")
    told = facts(CARD, "process 0 4242 400 /usr/bin/ollama", "graphics 0 99 - /usr/lib/Xorg", loaded="580.173.02")
    assert told["nvml"] == {"driver_version": "580.173.02", "error": None}
    assert told["driver_version"] == "580.173.02"
    (card,) = told["gpus"]
    assert (card["name"], card["uuid"]) == ("NVIDIA GeForce RTX 5060 Ti", "GPU-5f1c")
    assert card["memory_gib"] == 16311 / 1024
    assert (card["used_gib"], card["display_active"], card["compute_capability"]) == (0.5, True, [12, 0])
    assert card["processes"] == [
        {"pid": 99, "name": "/usr/lib/Xorg", "gib": None, "kinds": ["graphics"], "unit": None},
        {"pid": 4242, "name": "/usr/bin/ollama", "gib": 400 / 1024, "kinds": ["compute"], "unit": None},
    ]


OTHER = "gpu 0000:41:00.0 2684 24564 512 8.9 off GPU-b7e2 NVIDIA GeForce RTX 4090"


def test_a_lost_card_hides_no_other_and_keeps_its_number(sysfs, facts):
    sysfs("0000:01:00.0", "0x10de", "0x2d04", "0x030000", "nvidia")
    sysfs("0000:41:00.0", "0x10de", "0x2684", "0x030000", "nvidia")
    told = facts(CARD, OTHER, "lost 0", loaded="580.173.02")
    assert told["nvml"] == {"driver_version": "580.173.02", "error": None}
    lost, other = told["gpus"]
    assert (lost["number"], lost["error"], lost["memory_gib"]) == (0, gpu.IS_LOST, None)
    assert (other["number"], other["error"], other["uuid"]) == (1, None, "GPU-b7e2")
    assert (gpu_problem.of(lost).code, gpu_problem.of(other)) == (gpu_problem.LOST, None)
    assert gpu_problem.of(lost).text == "The card 0000:01:00.0 (10de:2d04) does not answer: NVML reports error 15."


def test_if_no_card_answers_nvml_fails(sysfs, facts):
    sysfs("0000:01:00.0", "0x10de", "0x2d04", "0x030000", "nvidia")
    told = facts(CARD, "lost 0", loaded="580.173.02")
    assert told["nvml"] == {"driver_version": None, "error": gpu.IS_LOST}


@pytest.mark.parametrize("bound", ["nouveau", None])
def test_a_card_that_no_driver_of_nvidia_binds_has_no_number(sysfs, facts, bound):
    sysfs("0000:01:00.0", "0x10de", "0x128b", "0x030000", bound)  # GT 710
    sysfs("0000:41:00.0", "0x10de", "0x2684", "0x030000", "nvidia")
    old, new = facts(OTHER, loaded="580.173.02")["gpus"]
    assert (old["number"], old["architecture"], new["number"]) == (None, gpu.PRE_MAXWELL, 0)
    why = f"the driver {bound}" if bound else "no driver"
    assert gpu_problem.of(old).text == f"The card 0000:01:00.0 (10de:128b) has {why}, so no agent uses it."
    assert gpu.by_id({"gpus": [old, new]}, None, 0) == gpu.by_id({"gpus": [old, new]}, "GPU-b7e2", 7) == new


def test_before_a_driver_the_cards_that_none_will_bind_have_no_number(sysfs, facts):
    sysfs("0000:01:00.0", "0x10de", "0x128b", "0x030000", "nouveau")
    sysfs("0000:21:00.0", "0x10de", "0x2684", "0x030000", "vfio-pci")
    sysfs("0000:41:00.0", "0x10de", "0x2684", "0x030000", "nouveau")
    assert [card["number"] for card in facts()["gpus"]] == [None, None, 0]


def test_a_card_in_mig_mode_is_refused_with_a_remedy(sysfs, facts):
    sysfs("0000:01:00.0", "0x10de", "0x2330", "0x030200", "nvidia")
    (card,) = facts("gpu 0000:01:00.0 2330 81559 0 9.0 off GPU-1 NVIDIA H100", "mig 0", loaded="580.173.02")["gpus"]
    assert gpu_problem.of(card).code == gpu_problem.MIG
    assert "`nvidia-smi --id 0 --multi-instance-gpu 0`" in gpu_problem.of(card).remedy


def test_a_gb10_has_the_memory_of_the_host(machine):
    machine.load("580.173.02", device="2e12")
    # Of an idle DGX Spark: nvitop#208.
    machine.write("proc/meminfo", "MemTotal: 127600748 kB\nMemAvailable: 118566368 kB\n")
    line = "gpu 0000:01:00.0 2e12 0 0 12.1 off GPU-10 NVIDIA GB10"
    code = "from roundhouse.host import gpu; print(json.dumps(gpu.facts(root / 'sys')))"
    (card,) = machine.ask(code, line)["gpus"]
    assert (card["unified"], card["number"]) == (True, 0)
    assert card["memory_gib"] == pytest.approx(121.7, abs=0.05)
    assert card["used_gib"] == pytest.approx(8.6, abs=0.05)


@pytest.mark.parametrize(
    ("line", "desktop"),
    [
        ("graphics 0 99 120 /usr/lib/xorg/Xorg", True),
        ("graphics 0 99 120 /opt/game", True),  # it draws on the user's screen
        ("process 0 99 120 /usr/lib/firefox/firefox-bin -contentproc", True),  # it decodes video
        ("process 0 99 120 /usr/bin/kwin_wayland", True),
        ("process 0 99 120 /usr/bin/python3", False),
        ("process 0 99 120 /usr/bin/ollama", False),
    ],
)
def test_desktop_processes_are_known_by_their_kind_and_their_name(sysfs, facts, line, desktop):
    sysfs("0000:01:00.0", "0x10de", "0x2d04", "0x030000", "nvidia")
    (card,) = facts(CARD, line, loaded="580.173.02")["gpus"]
    (process,) = card["processes"]
    assert gpu_process.is_desktop(process["kinds"], process["name"]) is desktop
    assert gpu_process.computing_gib(card["processes"]) == (0 if desktop else 120 / 1024)


def test_an_idle_card_has_no_processes_and_an_unreported_display_is_none(sysfs, facts):
    sysfs("0000:01:00.0", "0x10de", "0x20b2", "0x030200", "nvidia")
    (card,) = facts("gpu 0000:01:00.0 20b2 81920 3 8.0 - GPU-1 NVIDIA A100-SXM4-80GB", loaded="580.173.02")["gpus"]
    assert (card["processes"], card["display_active"]) == ([], None)


def test_cards_are_in_the_order_of_the_bus(sysfs, facts):
    sysfs("0000:41:00.0", "0x10de", "0x2204", "0x030000", "nvidia")
    sysfs("0000:01:00.0", "0x10de", "0x2d04", "0x030000", "nvidia")
    other = "gpu 0000:41:00.0 2204 24576 0 8.6 off GPU-2 NVIDIA GeForce RTX 3090"
    assert [card["uuid"] for card in facts(other, CARD, loaded="580.173.02")["gpus"]] == ["GPU-5f1c", "GPU-2"]


def test_a_card_that_nvml_alone_shows_is_a_gpu(facts):
    (card,) = facts(CARD, loaded="580.173.02")["gpus"]
    assert (card["device_id"], card["driver"], card["architecture"]) == ("2d04", None, "blackwell")


def test_a_version_mismatch_of_module_and_library_is_reported(sysfs, facts):
    sysfs("0000:01:00.0", "0x10de", "0x2d04", "0x030000", "nvidia")
    told = facts(CARD, loaded="580.159.03")
    assert told["nvml"]["error"] == gpu.VERSION_MISMATCH
    assert told["gpus"][0]["memory_gib"] is None


@pytest.mark.parametrize(
    "lines",
    [[CARD], [CARD, "driver 580.159.03"], [CARD, "fail 15"], [CARD, OTHER], [CARD, OTHER, "lost 0"], [CARD, "lost 0"]],
)
@pytest.mark.parametrize("loaded", ["580.173.02", None])
def test_the_state_without_nvidias_client_is_the_clients(sysfs, ask, lines, loaded):
    if loaded:
        (sysfs.root / "module/nvidia").mkdir(parents=True)
        (sysfs.root / "module/nvidia/version").write_text(loaded + "\n")
    code = "from roundhouse.host import gpu; print(json.dumps([gpu.state()[:2], gpu.read()[:2]]))"
    mine, clients = ask(code, *lines)
    assert mine == clients


def test_this_machines_own_state_is_the_clients_too():
    assert gpu.state()[:2] == gpu.read()[:2]


def test_the_command_takes_nvidias_client_along(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = bundle.make()
    with tarfile.open(made["path"]) as archive:
        archive.extractall(tmp_path, filter="data")
    script = tmp_path / made["name"] / "switch.py"
    # -I -S: without this test's environment.
    code = (
        f"import sys; sys.path.insert(0, {str(script.parent)!r}); from roundhouse.host import gpu; import json, pynvml;"
    )
    code += "print(json.dumps([pynvml.__file__, type(gpu.facts()).__name__]))"
    done = subprocess.run([sys.executable, "-ISc", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == [str(script.parent / "pynvml.py"), "dict"]
