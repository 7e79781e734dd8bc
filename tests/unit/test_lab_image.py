"""lab/image.sh: the inputs of an image determine its name, and a second build waits for the first."""

import fcntl
import os
import re
import subprocess

import pytest
from clock import until

from roundhouse.paths import CHECKOUT

SCRIPT = CHECKOUT / "lab/image.sh"


@pytest.fixture
def image(tmp_path):
    """Return a function that starts the script with a docker that has every image and records its arguments."""
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "$@" >>"$0.log"\n')
    docker.chmod(0o755)
    more = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def start(*words):
        with (tmp_path / "said").open("w") as said:
            return subprocess.Popen(
                [SCRIPT, *words], env=os.environ | more, stdout=subprocess.PIPE, stderr=said, text=True
            )

    return start


@pytest.mark.parametrize("layer", [(), ("fake",), ("fake/images",)])
def test_the_option_name_prints_the_name_without_docker(image, tmp_path, layer):
    name = image("--name", "bookworm", *layer).communicate()[0]
    kind = "".join(f"{each.replace('/', '-')}-" for each in layer)
    assert re.fullmatch(rf"roundhouse-lab:bookworm-{kind}[0-9a-f]{{12}}\n", name)
    assert not (tmp_path / "docker.log").exists()
    assert image("bookworm", *layer).communicate()[0] == name
    assert f"image inspect {name.strip()}" in (tmp_path / "docker.log").read_text()


def test_a_second_build_reports_that_it_waits(image, tmp_path):
    lock = tmp_path / "cache/roundhouse/images/bookworm.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = image("bookworm")
        until(lambda: "waiting for another build" in (tmp_path / "said").read_text())
        assert waiting.poll() is None
    assert waiting.communicate()[0].startswith("roundhouse-lab:bookworm-")
    assert waiting.returncode == 0
