"""lab/deployed.py runs one build at a time, and does not reuse the host of a killed build."""

import fcntl
import json
import threading
from pathlib import Path

import deployed
import pytest
from clock import until

# A replacement of docker with the hosts of two killed builds and the requested image.
DOCKER = """#!/bin/sh
echo "$@" >>"$0.log"
case $1 in
  ps) echo roundhouse-deploying-0123456789ab; echo roundhouse-deploying-ba9876543210 ;;
  images) echo sha256:1 ;;
esac
"""


def test_the_host_of_a_killed_build_is_removed_before_a_new_build(tmp_path, monkeypatch, capsys):
    docker = tmp_path / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    output = deployed.output

    def without_images(program, *words):
        return "roundhouse-lab:bookworm-fake-1" if str(program).endswith("image.sh") else output(docker, *words)

    monkeypatch.setattr(deployed, "output", without_images)
    host = {"name": "gpu1", "suite": "bookworm", "layer": "fake", "deployed": "site.yml"}
    assert deployed.print_image(host, Path(__file__)) == 0
    listed, *done = (tmp_path / "docker.log").read_text().splitlines()
    assert listed.endswith("--filter name=^roundhouse-deploying-")
    removed = [f"rm --force roundhouse-deploying-{key}" for key in ("0123456789ab", "ba9876543210")]
    assert done[:2] == removed
    assert done[2].startswith("images ")
    assert capsys.readouterr().out.startswith("roundhouse-lab:deployed-test_lab_deployed-bookworm-")


@pytest.mark.parametrize("taken", [True, False])
def test_a_second_build_reports_that_it_waits(tmp_path, monkeypatch, capsys, taken):
    monkeypatch.setattr(deployed, "LOCK", tmp_path / "cache/deployed.lock")
    monkeypatch.setattr(deployed, "print_image", lambda *_: 0)
    deployed.LOCK.parent.mkdir()
    told = []
    with deployed.LOCK.open("w") as lock:
        if taken:
            fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=deployed.main, args=(json.dumps({}), "variables.yml"), daemon=True)
        waiting.start()
        if taken:
            until(lambda: told.append(capsys.readouterr().err) or "waiting for another build" in "".join(told))
            assert waiting.is_alive()
    waiting.join(60)
    assert not waiting.is_alive()
    assert capsys.readouterr().err == ""


def test_the_key_covers_all_inputs_except_the_hosts_name(tmp_path):
    one, two = tmp_path / "one.yml", tmp_path / "two.yml"
    one.write_text("---\n")
    two.write_text("--- # another\n")
    platform = {"name": "gpu1", "suite": "bookworm", "groups": ["gpu_hosts"], "volumes": ["a:/a"]}
    key = deployed.key_of("base", platform, one, one)
    assert deployed.key_of("base", platform | {"name": "gpu2"}, one, one) == key
    others = [
        ("another", platform, one, one),
        ("base", platform | {"groups": []}, one, one),
        ("base", platform | {"volumes": ["a:/b"]}, one, one),
        ("base", platform, two, one),
        ("base", platform, one, two),
    ]
    assert len({key, *(deployed.key_of(*each) for each in others)}) == 6
