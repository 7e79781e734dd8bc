"""The stand-in machine of lab/gpu, and the record of the scenario real-hosts."""

import json

import pytest
import yaml
from gpu import kernel  # lab/gpu

from roundhouse.paths import CHECKOUT as ROOT

RECORD = ROOT / "tests/fixtures/real-hosts.json"


def rows():
    platforms = yaml.safe_load((ROOT / "molecule/real-hosts/molecule.yml").read_text())["platforms"]
    return {platform["name"].removeprefix("roundhouse-real-"): platform["row"] for platform in platforms}


def test_each_row_of_the_record_is_a_host_of_the_scenario_with_its_outcome():
    recorded = json.loads(RECORD.read_text())
    assert len(recorded) >= 20
    assert [row["host"] for row in recorded] == [name for name in rows() if name in {row["host"] for row in recorded}]
    for row in recorded:
        wanted = rows()[row["host"]]
        assert row["start"] == wanted["start"]
        assert row["outcome"] == ("refused" if "refused" in wanted else "serves")
        assert row["passed"]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return a function that boots a machine below a folder; its driver's module is loaded if `loads`."""
    for name in ("RUN", "BOOTS", "NVML", "MACHINE"):
        monkeypatch.setattr(kernel, name, tmp_path / name)
    created = []
    monkeypatch.setattr(kernel, "node", created.append)
    modinfo = {"filename": "/lib/modules/6.12/nvidia.ko", "version": "580.173.02", "license": "Dual MIT/GPL"}
    monkeypatch.setattr(kernel, "said", lambda *command: modinfo[command[-2]])

    def boot(cards):
        kernel.MACHINE.write_text(json.dumps({"cards": cards}))
        (kernel.RUN / "pci/devices").mkdir(parents=True)
        (kernel.RUN / "osrelease").write_text("6.12\n")
        for address, card in kernel.machine()["cards"].items():
            kernel.plug(address, card, nouveau=False)
        assert kernel.load() == 0
        return created

    return boot


def test_loading_the_module_creates_no_device_nodes(machine):
    created = machine({"0000:01:00.0": "2d04", "0000:02:00.0": "2684"})
    assert created == []
    assert kernel.nodes() == 0
    assert created == ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-uvm"]


def test_nvml_lists_only_the_cards_that_the_module_drives(machine):
    machine({"0000:01:00.0": {"device": "2d04", "display": True}, "0000:02:00.0": "128b"})
    assert kernel.bound() == ["0000:01:00.0"]
    assert kernel.NVML.read_text() == (
        "gpu 0000:01:00.0 2d04 16311 1236 12.0 on GPU-5f1c NVIDIA GeForce RTX 5060 Ti\n"
        "graphics 0 1500 824 /usr/lib/xorg/Xorg\n"
    )


def test_a_lost_card_stays_on_the_bus_and_nvml_refuses_it(machine):
    machine({"0000:01:00.0": "2d04", "0000:02:00.0": {"device": "2d04", "lost": True}})
    assert kernel.NVML.read_text().splitlines()[-1] == "lost 1"
    assert (kernel.RUN / "pci/devices/0000:02:00.0/device").read_text() == "0x2d04\n"
