"""A truncated, empty or mixed model folder is detected without loading it."""

import json
import struct

import pytest

from roundhouse.models import safetensors


def write(path, tensor_bytes, promised=None):
    size = tensor_bytes if promised is None else promised
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}, "__metadata__": {}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(tensor_bytes))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    write(tmp_path / "model.safetensors", 64)
    return tmp_path


def test_a_whole_folder(folder):
    assert safetensors.problem(folder) is None


def test_a_whole_folder_in_shards(folder):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    write(folder / "model-2.safetensors", 32)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert safetensors.problem(folder) is None
    (folder / "model-2.safetensors").unlink()
    assert "model-2.safetensors is missing" in safetensors.problem(folder)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is damaged"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no .safetensors file"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "does not start with a safetensors header"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"<html>404</html>"), "does not start with"),
        (lambda folder: write(folder / "model.safetensors", 60, promised=64), "bytes, but its header states"),
        (lambda folder: write(folder / "model.safetensors", 68, promised=64), "bytes, but its header states"),
    ],
)
def test_damage_is_named(folder, damage, sentence):
    damage(folder)
    assert sentence in safetensors.problem(folder)


def test_no_folder(tmp_path):
    assert "is not a folder" in safetensors.problem(tmp_path / "none")
