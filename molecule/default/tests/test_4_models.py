"""A hub's model is pulled by the hub's own client, whole or not at all, and once."""

import json
import subprocess
from pathlib import Path

import pytest

HUB = Path(__file__).resolve().parents[3] / "lab/hub.py"
STORE = "/tmp/store"
PORT = 8900


@pytest.fixture(scope="module")
def lock(tmp_path_factory):
    """Return the lock file of these tests: the roster's own is not theirs to write."""
    return tmp_path_factory.mktemp("lock") / "models.lock"


@pytest.fixture(scope="module")
def hub(host, name, lock):
    """Run a hub on the host's loopback that offers the lab's tiny models; return how to pull from it."""
    subprocess.run(["docker", "cp", str(HUB), f"{name}:/usr/local/bin/lab-hub"], check=True)
    package = host.check_output("dirname $(readlink -f /usr/local/bin/roundhouse)")
    host.check_output(
        f"systemd-run --unit lab-hub --setenv PYTHONPATH={package} /usr/local/bin/lab-hub /srv/lab/models {PORT}"
    )
    host.check_output(f"timeout 20 sh -c 'until ss -ltn | grep -q :{PORT}; do sleep 0.1; done'")
    environment = {"HF_ENDPOINT": f"http://127.0.0.1:{PORT}"}
    yield {"models_store": STORE, "models_environment": environment, "models_lock": str(lock)}
    host.run("systemctl stop lab-hub")
    host.run(f"rm -rf {STORE}")


def test_a_repository_that_is_not_there_leaves_nothing_under_its_name(host, play, hub):
    result = play(hub | {"lab_model": "lab/none"}, "playbooks/models.yml")
    assert result.returncode != 0
    assert f"lab/none was not found on 127.0.0.1:{PORT}" in result.stdout, result.stdout
    assert not host.file(f"{STORE}/lab/none").exists


def test_a_pull_is_whole_and_done_once(host, play, hub, lock):
    first = play(hub | {"lab_model": "lab/po"}, "playbooks/models.yml")
    assert first.returncode == 0, first.stdout
    revision = json.loads(lock.read_text())["models"]["lab/po@main"]["revision"]
    for file in ("model.safetensors", "tokenizer.json", "config.json", "chat_template.jinja"):
        assert host.run(f"cmp /srv/lab/models/po/{file} {STORE}/lab/po/{revision}/{file}").rc == 0

    host.check_output("systemctl stop lab-hub")
    again = play(hub | {"lab_model": "lab/po"}, "playbooks/models.yml")
    assert again.returncode == 0, again.stdout
    assert "changed=0" in again.stdout
