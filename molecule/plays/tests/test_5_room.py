"""A store's disk that lacks 3 GiB: site.yml reports it before the first byte, with both numbers and the path."""

import os

import docker
import pytest
from faulty_hub import MIB, FaultyHub, make_model

FREE, LACKING = 64 * MIB, 3 * 1024 * MIB
DISK = "/tmp/tight"
STORE = f"{DISK}/store"


@pytest.fixture
def hub(name, tmp_path):
    """Run a hub that the host reaches at its network's gateway; lab/large is LACKING larger than the disk."""
    make_model(tmp_path / "root/large", {"model.safetensors": MIB})
    # The added bytes are a hole, which takes no space on the disk; nothing loads the file.
    os.truncate(tmp_path / "root/large/model.safetensors", FREE + LACKING)
    networks = docker.from_env().containers.get(name).attrs["NetworkSettings"]["Networks"]
    with FaultyHub(tmp_path / "root", next(iter(networks.values()))["Gateway"]) as running:
        running.repositories.files("lab/large", "main")  # hashed before a client waits for it
        yield running


@pytest.fixture
def tight(host):
    """Give the host a disk for the store with only FREE bytes."""
    host.check_output(f"mkdir -p {DISK} && mount -t tmpfs -o size={FREE} tmpfs {DISK}")
    yield
    host.check_output(f"umount {DISK}")


def test_a_disk_that_lacks_3_gib_is_named_before_the_first_byte(hub, tight, play, serving, tmp_path):
    before = serving()
    revision = hub.repositories.revision("lab/large", "main")
    sentence = (
        f"{STORE} has 0.06 GiB free but needs 3.06 GiB (lab/large at {revision[:8]} 3.06). "
        "Free 3.00 GiB there (roundhouse prune), or set models_store to another disk."
    )
    wanted = {"lab_model": "lab/large", "models_store": STORE, "models_lock": str(tmp_path / "models.lock")}
    wanted["models_environment"] = {"HF_ENDPOINT": hub.url}

    # The hub alone knows how large it is: the pull says it.
    first = play(wanted)

    assert first.returncode != 0
    assert sentence in " ".join(first.stdout.split()), first.stdout
    assert "TASK [models : Pull missing or unverified models" in first.stdout
    asked = len(hub.log)
    assert asked > 0

    # Now the lock knows it too: the preflight says it, before anything is changed, and the hub is not asked.
    second = play(wanted)

    assert second.returncode != 0
    assert sentence in " ".join(second.stdout.split()), second.stdout
    assert "changed=0" in second.stdout
    assert "TASK [engine" not in second.stdout
    assert len(hub.log) == asked

    assert not [sent for sent in hub.log if sent.size or (sent.method == "GET" and "/resolve/" in sent.path)]
    assert serving() == before
