"""An image is pulled by the real Docker engine from a registry of the test, and failures are named."""

import json
import subprocess
import sys

import pytest
from image_registry import NAME, TAG, Registry, serve
from refusal import refused
from test_plugins import ROOT

from roundhouse import pins
from roundhouse.host import docker as host_docker
from roundhouse.host import docker_pull
from roundhouse.models.retry import Retry
from roundhouse.provision import image_pull
from roundhouse.util import progress

LOGIN = ("someone", "a-secret-of-the-registry")
docker = pytest.mark.skipif(not host_docker.info(), reason="no Docker engine answers; the lab starts one")


@pytest.fixture
def pull(tmp_path, monkeypatch):
    """Return a function that pulls an image and returns the result and the lines of its progress."""
    monkeypatch.setattr(image_pull, "RETRY", Retry(first_seconds=0.01, longest_seconds=0.01))
    monkeypatch.setattr(docker_pull, "stored_login", lambda *_: docker_pull.Login())
    notes = []
    monkeypatch.setattr(progress.Progress, "note", lambda _, text: notes.append(text))
    pulled = []

    def go(image, username="", password=""):
        pulled.append(image)
        done = image_pull.pull({"image": image, "username": username, "password": password, "progress_path": None})
        return done, notes

    yield go
    for image in pulled:
        subprocess.run(["docker", "rmi", "--force", image], capture_output=True, check=False)


def digests(image):
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True, check=False)
    return json.loads(done.stdout)[0]["RepoDigests"] if done.returncode == 0 else []


@docker
def test_an_image_is_pulled_by_its_tag_and_by_its_digest(pull):
    registry = Registry()
    with serve(registry) as address:
        image = f"{address}/{NAME}:{TAG}"
        assert pull(image)[0] == {"changed": True}
        assert digests(image) == [f"{address}/{NAME}@{registry.digest}"]
        # The deployed image is named by its digest, which is in the engine already.
        asked = len(registry.requests)
        assert pull(f"{image}@{registry.digest}")[0] == {"changed": False}
        assert len(registry.requests) == asked
        subprocess.run(["docker", "rmi", image], capture_output=True, check=True)
        assert pull(f"{image}@{registry.digest}")[0] == {"changed": True}
        assert digests(f"{image}@{registry.digest}")


@docker
def test_a_failure_of_the_registry_is_retried_and_said(pull):
    with serve(Registry(failures=2)) as address:
        done, notes = pull(f"{address}/{NAME}:{TAG}")
    assert done == {"changed": True}
    assert "503" in notes[0]
    assert notes[0].endswith("; retry in 0 s (1 of 8)")


@docker
def test_a_registry_that_stays_away_is_named_with_the_number_of_tries(pull):
    with serve(Registry(failures=1000)) as address, refused("image_unreachable", tries=8) as error:
        pull(f"{address}/{NAME}:{TAG}")
    assert "503" in error.value.fields["reason"]


@docker
def test_a_login_is_used_and_stored_nowhere(pull):
    with serve(Registry(login=LOGIN)) as address:
        image = f"{address}/{NAME}:{TAG}"
        with refused("image_access_denied", image=image, tries=1):
            pull(image)
        with refused("image_access_denied", image=image):
            pull(image, "someone", "another")
        assert pull(image, *LOGIN)[0] == {"changed": True}
        # A second, anonymous pull of the host fails, because nothing was stored.
        done = subprocess.run(["docker", "pull", image], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "no basic auth credentials" in done.stderr


@docker
def test_an_image_that_does_not_exist_is_not_retried(pull):
    with serve(Registry()) as address, refused("image_not_pulled", tries=1):
        pull(f"{address}/{NAME}:other")


@docker
def test_the_role_locks_the_digest_that_a_mirror_served_and_pulls_it_with_the_login(tmp_path):
    registry, lock = Registry(login=LOGIN), tmp_path / "images.lock"
    tag = f"{NAME}:{TAG}"
    with serve(registry) as address:
        settings = {
            "engine_image_source": "registry",
            "engine_image_reference": f"{address}/{tag}",
            "engine_image_tag": tag,
            "engine_image_lock": str(lock),
            "engine_image_archive_sha256": "",
            "engine_image_python": "python3",
            "engine_image_accelerator": "cpu",
            "engine_image_registry_mirror": address,
            "engine_image_registry_username": LOGIN[0],
            "engine_image_registry_password": LOGIN[1],
            "ansible_python_interpreter": sys.executable,
        }
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": settings}
        (tmp_path / "play.yml").write_text(json.dumps([{**play, "roles": ["engine_image"]}]))
        command = ["ansible-playbook", "--inventory", "localhost,", "-vvv", "--diff", str(tmp_path / "play.yml")]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            assert pins.read(lock) == {tag: registry.digest}
            assert digests(f"{address}/{tag}") == [f"{address}/{NAME}@{registry.digest}"]
            assert LOGIN[1] not in done.stdout + done.stderr
        finally:
            subprocess.run(["docker", "rmi", "--force", f"{address}/{tag}"], capture_output=True, check=False)


def test_the_bytes_of_the_layers_are_added_up():
    events = []
    shown = progress.Progress(events.append, 1000)
    layers = image_pull.Layers(shown)

    def say(status, layer="a", **detail):
        layers.update({"status": status, "id": layer, "progressDetail": detail})
        shown._event()

    say("Pulling from lab/engine", "v1")
    assert events == []
    say("Downloading", current=50, total=100)
    say("Downloading", "b", current=100, total=300)
    assert (events[-1]["done_bytes"], events[-1]["total_bytes"]) == (150, 400)
    say("Extracting", current=1, total=100)  # while b still downloads
    assert events[-1]["event"] == "progress"
    say("Download complete")
    say("Download complete", "b")
    assert (events[-1]["done_bytes"], events[-1]["total_bytes"]) == (400, 400)
    say("Extracting", current=1, total=100)
    assert events[-1]["text"] == "unpacking the image (0 s)"
    layers.end()
    say("Pull complete")
    assert events[-1]["event"] == "progress"


@pytest.mark.parametrize(
    ("reason", "permanent", "refused"),
    [
        ("Get https://registry/v2/: dial tcp: lookup registry: no such host", False, False),
        ("net/http: TLS handshake timeout", False, False),
        ("received unexpected HTTP status: 502 Bad Gateway", False, False),
        ("unexpected EOF", False, False),
        ("manifest for vllm/vllm-openai:v9 not found: manifest unknown", True, False),
        ("pull access denied for a/b, repository does not exist or may require 'docker login'", True, True),
        ("toomanyrequests: You have reached your pull rate limit", True, True),
        ("write /var/lib/docker/tmp/x: no space left on device", True, False),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", True, False),
    ],
)
def test_only_a_failure_that_may_pass_is_retried(reason, permanent, refused):
    error = docker_pull.PullError(reason)
    assert (error.permanent, error.refused) == (permanent, refused)


def test_the_password_of_a_proxy_is_not_in_the_reason():
    error = docker_pull.PullError('proxyconnect: parse "http://me:secret@proxy:3128": bad')
    assert "secret" not in error.reason
    assert "//***@proxy:3128" in error.reason


def test_the_registry_of_a_reference():
    names = ("vllm/vllm-openai:v1", "docker.io/a/b", "registry.lan/a", "localhost/a", "mirror:5000/a/b@sha256:1")
    assert [docker_pull.registry(name) for name in names] == ["", "", "registry.lan", "localhost", "mirror:5000"]


def test_roots_own_login_is_used_without_a_setting(tmp_path):
    auths = {"registry.lan": {"auth": "bWU6bXk6c2VjcmV0"}, docker_pull.DOCKER_HUB: {"auth": "aHViOng="}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    assert docker_pull.stored_login("registry.lan/a/b:v1", tmp_path) == ("me", "my:secret")
    assert docker_pull.stored_login("vllm/vllm-openai", tmp_path) == ("hub", "x")
    assert docker_pull.stored_login("other.lan/a", tmp_path) == ("", "")
    assert docker_pull.stored_login("registry.lan/a", tmp_path / "none") == ("", "")


def test_without_an_engine_the_reason_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with refused("docker_unreachable"):
        docker_pull.pull("a/b:v1", docker_pull.Login(), lambda _: None)
