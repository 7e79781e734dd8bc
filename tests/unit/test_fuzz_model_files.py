"""Generated files of a model: GGUF's metadata, config.json, safetensors' headers and manifests end with an answer."""

import json
import struct

from fuzz import run
from test_fuzz_roster import BENIGN, CARDS, CONFIG
from test_migrate_ollama import gguf_head

from roundhouse.catalog import hf_config
from roundhouse.catalog.model_families import Model, Unknown
from roundhouse.errors import RoundhouseError, UsageError
from roundhouse.migrate import gguf_metadata, ollama_library
from roundhouse.models import lock, manifest, own_folders, safetensors
from roundhouse.plan import build, decide
from roundhouse.roster import validate

REVISION = "0" * 40


def gguf(draw):
    """Return a GGUF file with values of every type, nested arrays, and lengths that are wrong."""

    def text(value):
        raw = value.encode(errors="replace")
        return struct.pack("<Q", draw.choice([len(raw), len(raw), draw.choice([0, 2**63, 10**9])])) + raw

    def value(kind, depth=0):
        if kind == 8:
            return text(draw.text())
        if kind == 9 and depth < 4:
            of, length = draw.randrange(14), draw.choice([0, 1, 3, 10**6, 2**62])
            return struct.pack("<IQ", of, length) + b"".join(value(of, depth + 1) for _ in range(min(length, 3)))
        return draw.randbytes(draw.choice([1, 2, 4, 8]))

    rows = b""
    for _ in range(draw.randrange(5)):
        kind = draw.randrange(14)
        rows += text(draw.choice(["general.name", "general.basename", draw.text()])) + struct.pack("<I", kind)
        rows += value(kind)
    return b"GGUF" + struct.pack("<IQQ", draw.choice([2, 3]), 0, draw.choice([1, 5, 2**60])) + rows


def test_generated_gguf_files(tmp_path):
    file = tmp_path / "weights"
    whole = gguf_head(name="Qwen2.5 7B Instruct", size_label="7B")

    def check(draw):
        file.write_bytes(gguf(draw) if draw.maybe() else draw.damaged(whole))
        found = gguf_metadata.read(file)
        assert all(isinstance(name, str) for name in found)
        ollama_library.by_metadata(found)

    run("GGUF files", check)


def test_generated_configs(tmp_path):
    agent = {**BENIGN, "models": [{"model": str(tmp_path)}]}

    def check(draw):
        quantized = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
        config = {**CONFIG, **draw.choice([{}, quantized]), "layer_types": ["full_attention"]}
        config = draw.changed(config, draw.choice([0.02, 0.1, 0.4]))
        raw = json.dumps(config).encode()
        (tmp_path / "config.json").write_bytes(draw.damaged(raw) if draw.maybe(0.3) else raw)
        try:
            assert isinstance(hf_config.read(tmp_path), Model | Unknown)
        except UsageError as error:
            assert error.code == "model_config_unreadable"
        configs = own_folders.configs([agent])
        if list(validate.problems([agent], configs, None)):
            return
        settings = build.Settings("cuda", "/opt/e", "/srv/store", 900, None)
        build.build([agent], settings, decide.Host(CARDS, configs=configs))

    run("configs", check)


def test_generated_safetensors(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    index = tmp_path / "model.safetensors.index.json"

    def check(draw):
        header = {"t": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}, "__metadata__": {"a": "b"}}
        raw = json.dumps(draw.changed(header, draw.choice([0.0, 0.2]))).encode()
        size = draw.choice([len(raw), len(raw), 0, 2**63, len(raw) + 1])
        content = struct.pack("<Q", size) + raw + bytes(8)
        (tmp_path / "model.safetensors").write_bytes(draw.damaged(content) if draw.maybe(0.3) else content)
        (tmp_path / "config.json").write_text(draw.choice(["{}", "[", "[" * 9000, "7"]))
        index.write_text(json.dumps(draw.changed({"weight_map": {"t": "model.safetensors"}}, 0.2)))
        if draw.maybe():
            index.unlink()
        found = safetensors.problem(tmp_path)
        assert found is None or isinstance(found, str)

    run("safetensors", check)


def test_generated_manifests_and_locks(tmp_path):
    folder = tmp_path / REVISION
    folder.mkdir()
    made = manifest.Manifest("a/b", REVISION, [manifest.File("a.json", 2, "sha256:00")], asked="main", source="hub")
    made.write(folder)
    whole = json.loads((folder / manifest.NAME).read_text())
    locked = {"schema": 1, "models": {"a/b@main": {"revision": REVISION, "files": {"a.json": "2 sha256:00"}}}}

    def check(draw):
        raw = json.dumps(draw.changed(whole, 0.1)).encode()
        (folder / manifest.NAME).write_bytes(draw.damaged(raw) if draw.maybe(0.3) else raw)
        found = manifest.read_in_store(folder)
        if isinstance(found, manifest.Manifest):
            assert found.revision == REVISION
            assert all(manifest.is_name(file.path) and file.size >= 0 for file in found.files)
            found.is_unchanged(folder)
        else:
            assert isinstance(found, RoundhouseError)
        (tmp_path / "models.lock").write_text(json.dumps(draw.changed(locked, 0.1)))
        try:
            entries = lock.read(tmp_path / "models.lock")
        except UsageError as error:
            assert error.code == "lock_unreadable"
        else:
            assert all(manifest.COMMIT.fullmatch(entry["revision"]) for entry in entries.values())

    run("manifests and locks", check)
