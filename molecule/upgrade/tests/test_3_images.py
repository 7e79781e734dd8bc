"""Images from a registry whose tag moves and from an archive; recovery after a container or Docker is removed."""

import json
import os
from pathlib import Path

import pytest
from conftest import said

pytestmark = pytest.mark.on("images")
LOCK = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "images.lock")
ARCHIVE = "/srv/lab/engine.tar"


def test_a_moved_tag_is_followed_only_on_request(machine, play):
    tag = f"{machine.repository}:v0.33.0"  # locked by the upgrade of test_1_plays.py; another image is active now
    machine.write(machine.first)
    assert machine.deploy()["rc"] == 0
    locked, moved = f"{tag}@{json.loads(LOCK.read_text())['images'][tag]}", machine.image("v0.33.0", "moved")
    assert moved != locked
    result = play("upgrade", container_image=tag)
    assert result.returncode == 0, result.stdout
    assert machine.runs() == (["architect"], locked)
    result = play("upgrade", container_image=tag, container_image_relock=True)
    assert result.returncode == 0, result.stdout
    assert machine.runs() == (["architect"], moved)


@pytest.fixture
def archive(machine):
    """Save the active image to a file, and return its SHA-256."""
    machine.host.check_output(f"docker save --output {ARCHIVE} $(docker image inspect --format '{{{{.Id}}}}' %s)",
                              machine.planned())  # fmt: skip
    return machine.host.check_output(f"sha256sum {ARCHIVE}").split()[0]


def test_an_archive_with_another_checksum_is_refused(machine, play, archive):
    before, settings = machine.files(), {"container_image_source": "archive", "container_image_archive": ARCHIVE}
    result = play("engine", **settings, container_image_archive_sha256="0" * 64)  # the playbook that checks it
    assert result.returncode == 2
    assert f" is {archive}, not {'0' * 64}. Copy the archive again, or correct" in said(result)
    assert machine.files() == before
    result = play("upgrade", **settings, container_image_archive_sha256=archive)
    assert result.returncode == 0, result.stdout
    assert machine.runs() == (["architect"], f"roundhouse-engine:archive-{archive[:12]}")


@pytest.mark.parametrize("loss", ["docker kill roundhouse-architect", "docker rm --force roundhouse-architect",
                                  "systemctl restart docker", "systemctl kill --signal KILL docker"])  # fmt: skip
def test_the_last_agent_recovers_from_a_lost_container_or_docker(machine, loss):
    (serving, _) = machine.runs()
    number = "docker ps --quiet --no-trunc --filter name=^roundhouse-architect$"
    before = machine.host.check_output(number)
    machine.host.check_output(loss)
    another = f'test -n "$({number})" && test "$({number})" != {before}'
    wait = f"until {another} && systemctl -q is-active roundhouse-architect; do sleep 0.1; done"
    machine.host.check_output("timeout 90 sh -c %s", wait)
    assert machine.runs()[0] == serving
