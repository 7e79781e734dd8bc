"""The pinned digest of an image's name, and refusals."""

import pytest
from refusal import refused

from roundhouse import pins
from roundhouse.errors import UsageError

SHA = "ab" * 32
DIGEST = f"sha256:{SHA}"


def wanted(source="registry", **changed):
    asked = pins.ImageSettings(source, "vllm/vllm-openai", "", "debian:bookworm-slim", "python3", "cuda")
    return asked._replace(**changed)


def test_without_a_digest_the_tag_is_the_locked_engines_release(tmp_path):
    lock = tmp_path / "images.lock"
    tag = pins.reference(wanted(), lock)
    assert tag.startswith("vllm/vllm-openai:v0.")
    assert pins.record(lock, tag, [f"other/name@sha256:{'1' * 64}", f"vllm/vllm-openai@{DIGEST}"]) is True
    assert pins.reference(wanted(), lock) == f"{tag}@{DIGEST}"
    assert pins.record(lock, tag, [f"vllm/vllm-openai@{DIGEST}"]) is False
    assert pins.reference(wanted(name="localhost:5000/vllm:mine"), lock) == "localhost:5000/vllm:mine"


def test_an_image_without_a_registry_has_no_digest(tmp_path):
    with refused("image_digest_missing", image="a/b:v1"):
        pins.record(tmp_path / "images.lock", "a/b:v1", [])
    assert not (tmp_path / "images.lock").exists()


def test_an_archive_is_named_after_its_digest_and_a_build_after_its_inputs(tmp_path):
    assert pins.reference(wanted("archive", archive_sha256=SHA), tmp_path) == f"{pins.OWN}:archive-{SHA[:12]}"
    with refused("image_archive_sha256_invalid", value=""):
        pins.reference(wanted("archive"), tmp_path)
    built = {pins.reference(wanted("build", **each), tmp_path) for each in ({}, {"base": "b"}, {"python": "p"})}
    assert len(built) == 3
    with refused("image_source_unknown", value="hub"):
        pins.reference(wanted("hub"), tmp_path)


def test_an_unreadable_lock_is_reported(tmp_path):
    (tmp_path / "images.lock").write_text("[]")
    with pytest.raises(UsageError, match="Restore it from version control"):
        pins.reference(wanted(), tmp_path / "images.lock")


@pytest.mark.parametrize(
    ("name", "mirrored"),
    [
        ("vllm/vllm-openai:v1", "mirror.lan/hub/vllm/vllm-openai:v1"),
        ("docker.io/vllm/vllm-openai:v1", "mirror.lan/hub/vllm/vllm-openai:v1"),
        ("nvcr.io/nvidia/vllm:v1", "mirror.lan/hub/nvidia/vllm:v1"),
        ("debian:bookworm-slim", "mirror.lan/hub/library/debian:bookworm-slim"),
    ],
)
def test_a_mirror_replaces_the_registry(name, mirrored):
    assert pins.mirrored(name, "mirror.lan/hub/") == mirrored
    assert pins.mirrored(name, "") == name


def test_the_digest_of_a_tag_is_the_same_at_every_mirror(tmp_path):
    lock, mirror = tmp_path / "images.lock", "mirror.lan:5000"
    tag = pins.reference(wanted(), lock)
    pulled = pins.reference(wanted(mirror=mirror), lock)
    assert pulled == f"{mirror}/{tag}"
    with refused("image_digest_missing"):  # another registry's digest is not the mirror's
        pins.record(lock, tag, [f"vllm/vllm-openai@sha256:{'1' * 64}"], mirror)
    assert pins.record(lock, tag, [f"{mirror}/vllm/vllm-openai@{DIGEST}"], mirror) is True
    assert pins.reference(wanted(mirror=mirror), lock) == f"{pulled}@{DIGEST}"
    assert pins.reference(wanted(), lock) == f"{tag}@{DIGEST}"


@pytest.mark.parametrize("mirror", ["https://mirror.lan", "mirror"])
def test_a_mirror_that_docker_would_not_ask_is_refused(mirror):
    with refused("registry_mirror_invalid", value=mirror):
        pins.mirrored("a/b", mirror)
