"""Ollama's models as agents, from a store in Ollama's layout and from Modelfiles."""

import hashlib
import json
import struct
import sys

import pytest

from roundhouse.catalog import gpus
from roundhouse.cli import main, plan_question
from roundhouse.errors import RoundhouseError
from roundhouse.migrate import agent, gguf_metadata, modelfile, ollama, ollama_library, ollama_store
from roundhouse.plan import build
from roundhouse.roster import validate

LIBRARY = "registry.ollama.ai/library"


def gguf_head(**texts):
    """Return the beginning of a GGUF file: strings, a number and an array, then the tokenizer's words."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    rows = [text(f"general.{name}") + struct.pack("<I", 8) + text(value) for name, value in texts.items()]
    rows += [text("qwen2.context_length") + struct.pack("<II", 4, 32768)]
    rows += [text("general.tags") + struct.pack("<IIQ", 9, 8, 2) + text("chat") + text("en")]
    rows += [text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 10**9)]
    return b"GGUF" + struct.pack("<IQQ", 3, 7, len(rows)) + b"".join(rows)


class Store:
    """Build a folder in the layout of Ollama's store."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "blobs").mkdir(parents=True)

    def blob(self, content):
        content = content if isinstance(content, bytes) else content.encode()
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / f"sha256-{digest}").write_bytes(content)
        return f"sha256:{digest}"

    def add(self, name, weights=b"GGUF", config=None, place=LIBRARY, **parts):
        family, _, tag = name.partition(":")
        kinds = {"model": weights, **parts}
        layers = [
            {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": self.blob(content), "size": len(content)}
            for kind, content in kinds.items()
        ]
        config = {"model_format": "gguf", "model_family": "qwen2", "file_type": "Q4_K_M"} | (config or {})
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": self.blob(json.dumps(config)),
            },
            "layers": layers,
        }
        path = self.folder / "manifests" / place / family / (tag or "latest")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "usr/share/ollama/.ollama/models")


@pytest.fixture
def told(store, capsys):
    def run():
        status = main.main(["import", "ollama", "--store", str(store.folder), "--json"])
        return json.loads(capsys.readouterr().out) | {"status": status}

    return run


def of(answer, name):
    return {line["text"].partition(" ")[0]: line for line in answer["lines"] if line["file"] == name} | {
        line["text"]: line for line in answer["lines"] if line["file"] == name
    }


def everything(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


def test_a_created_model_has_weights_sampling_and_length(store, told):
    head = gguf_head(architecture="qwen2", name="Qwen2.5 Coder 32B Instruct", basename="Qwen2.5-Coder")
    params = json.dumps({"temperature": 0.3, "top_p": 0.95, "num_ctx": 16384, "num_gpu": 99, "stop": ["<|im_end|>"]})
    system = "You are a careful developer. " * 9
    store.add("dev", head, {"model_type": "32.8B"}, params=params, system=system, template="{{ .Prompt }}")
    before = everything(store.folder)
    answer = told()
    (agent,) = answer["agents"]
    lines = of(answer, "dev:latest")
    assert (answer["status"], list(validate.problems([agent]))) == (0, [])
    assert agent == {
        "name": "dev",
        "models": [
            {"model": "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "quantization": "awq"},
            {"model": "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ", "quantization": "awq"},
            {"model": "Qwen/Qwen2.5-Coder-7B-Instruct-AWQ", "quantization": "awq"},
        ],
        **{"port": 8000, "max_model_len": 16384, "max_model_len_min": 8192, "gpu_memory_utilization": 0.92},
        **{"temperature": 0.3, "top_p": 0.95},
    }
    assert "send it as the first message" in lines["SYSTEM"]["why"]
    assert f"{len(system)} characters" in lines["SYSTEM"]["why"]
    assert "The name in its file is 'Qwen2.5 Coder 32B Instruct'" in lines["FROM"]["why"]
    assert lines["PARAMETER num_gpu 99"]["outcome"] == "unsupported"
    assert "in the request" in lines["PARAMETER stop ['<|im_end|>']"]["why"]
    assert everything(store.folder) == before


def test_the_proposed_agents_fit_the_card(store, told):
    store.add("qwen2.5:7b", gguf_head(name="Qwen2.5 7B Instruct"))
    store.add("llama3.1:8b", b"GGUF1", {"model_type": "8.0B", "model_family": "llama"})
    store.add("qwen3:1.7b", b"GGUF2", {"model_type": "2.0B", "model_family": "qwen3"})
    host = plan_question.imagined(gpus.find("RTX 5060 Ti", 16), 1)
    agents = told()["agents"]
    plan = build.build(agents, build.Settings("cuda", "", "", None), host)
    assert plan["problems"] == []
    assert [(agent["model"], agent["verdict"]) for agent in plan["agents"]] == [
        ("meta-llama/Llama-3.1-8B-Instruct", "fits"),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "fits"),
        ("Qwen/Qwen3-1.7B", "fits"),
    ]


def test_ollamas_defaults_are_added_and_reported(store, told):
    store.add("qwen2.5", gguf_head(name="Qwen2.5 7B Instruct"))
    answer = told()
    (agent,) = answer["agents"]
    assert (agent["temperature"], agent["top_p"], agent["max_model_len"]) == (0.8, 0.9, 32768)
    assert "Ollama's default" in of(answer, "qwen2.5:latest")["temperature"]["why"]


def test_a_derived_model_is_recognized_by_its_base(store, told):
    store.add("qwen2.5-coder:14b", b"GGUF-no-head", {"model_type": "14.8B"})
    store.add("architect", b"GGUF-no-head", {"model_type": "14.8B"}, params='{"temperature": 0.1}')
    models = {agent["name"]: agent["models"][0]["model"] for agent in told()["agents"]}
    assert models["architect"] == "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ"


def test_two_names_of_one_model_are_one_agent(store, told):
    for name in ("qwen2.5:7b", "qwen2.5:latest"):
        store.add(name, gguf_head(name="Qwen2.5 7B Instruct"))
    answer = told()
    assert len(answer["agents"]) == 1
    assert "the same as qwen2.5:7b" in of(answer, "qwen2.5:latest")["model"]["why"]


@pytest.mark.parametrize(
    ("name", "config", "parts", "part"),
    [
        ("gemma3:4b", {"model_family": "gemma3"}, {}, "gemma3 (the name in its file) is unknown"),
        ("nomic-embed-text", {"model_family": "nomic-bert"}, {}, "an embedding model"),
        ("qwen2.5:7b", {}, {"projector": "x"}, "a vision model"),
        ("qwen2.5:7b", {}, {"adapter": "x"}, "merge the adapter"),
        ("qwen2.5:7b", {"model_type": "14.8B"}, {}, "is unknown"),
    ],
)
def test_unsupported_models_are_reported(store, told, name, config, parts, part):
    store.add("po", gguf_head(name="Qwen2.5 7B Instruct"), params='{"seed": 1}')
    store.add(name, b"GGUF-other", config, **parts)
    answer = told()
    assert [agent["name"] for agent in answer["agents"]] == ["po"]
    full = name if ":" in name else f"{name}:latest"
    assert any(part in line["why"] for line in answer["lines"] if line["file"] == full)


def test_a_store_without_known_models_is_refused_with_reasons(store, capsys):
    store.add("gemma3:4b", b"GGUF", {"model_family": "gemma3"})
    assert main.main(["import", "ollama", "--store", str(store.folder)]) == 1
    assert "gemma3:4b: The safetensors repository of gemma3" in capsys.readouterr().err


def test_a_damaged_manifest_is_named_and_the_others_are_read(store, told):
    store.add("qwen2.5:7b", gguf_head(name="Qwen2.5 7B Instruct"))
    (store.folder / "manifests" / LIBRARY / "qwen2.5/broken").write_text("{")
    answer = told()
    assert len(answer["agents"]) == 1
    assert any("broken cannot be read" in line["why"] for line in answer["lines"])


def test_where_the_store_is(tmp_path, store, monkeypatch):
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    home = tmp_path / "home/ann"
    (store.folder / "manifests").mkdir()
    assert ollama_store.place(root=tmp_path, home=home) == store.folder
    for folder in ("data/ollama", "env/ollama"):
        (tmp_path / folder / "manifests").mkdir(parents=True)
    drop_in = tmp_path / "etc/systemd/system/ollama.service.d/override.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(f'[Service]\nEnvironment="OLLAMA_MODELS={tmp_path}/data/ollama" "OLLAMA_NUM_PARALLEL=4"\n')
    assert ollama_store.place(root=tmp_path, home=home) == tmp_path / "data/ollama"
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "env/ollama"))
    assert ollama_store.place(root=tmp_path, home=home) == tmp_path / "env/ollama"
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "gone"))
    with pytest.raises(RoundhouseError) as refused:
        ollama_store.place(root=tmp_path, home=home)
    assert (refused.value.code, refused.value.fields["folders"]) == ("ollama_models_not_found", f"{tmp_path}/gone")


def test_a_missing_store_is_reported_with_the_searched_paths(tmp_path, monkeypatch):
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    with pytest.raises(RoundhouseError) as refused:
        ollama_store.place(root=tmp_path, home=tmp_path / "home")
    assert refused.value.code == "ollama_models_not_found"
    assert f"{tmp_path}/usr/share/ollama" in refused.value.fields["folders"]
    assert "--store FOLDER" in refused.value.remedy


def test_the_services_settings_apply_to_each_agent(tmp_path, store, monkeypatch):
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    unit = tmp_path / "etc/systemd/system/ollama.service"
    unit.parent.mkdir(parents=True)
    told = "OLLAMA_CONTEXT_LENGTH=8192 OLLAMA_NUM_PARALLEL=4 OLLAMA_KV_CACHE_TYPE=q8_0 OLLAMA_KEEP_ALIVE=24h"
    unit.write_text("[Service]\n" + "".join(f'Environment="{each}"\n' for each in told.split()))
    store.add("qwen2.5:7b", gguf_head(name="Qwen2.5 7B Instruct"))
    store.add("po", gguf_head(name="Qwen2.5 7B Instruct"), params='{"num_ctx": 4096}')
    made, lines = ollama.import_store(None, tmp_path)
    agents = {agent["name"]: agent for agent in made}
    assert agents["qwen2-5-7b"]["max_model_len"] == 8192
    assert agents["po"]["max_model_len"] == 4096
    assert {(agent["max_num_seqs"], agent["kv_cache_dtype"]) for agent in agents.values()} == {(4, "fp8")}
    assert next(line.outcome for line in lines if "KEEP_ALIVE" in line.text) == "unsupported"


def test_a_model_of_hugging_face_in_ollama(store, told):
    store.add("Qwen2.5-14B-Instruct-GGUF:Q5_K_M", b"GGUF", {"file_type": "Q5_K_M"}, place="hf.co/bartowski")
    answer = told()
    (agent,) = answer["agents"]
    assert agent["models"][0]["model"] == "Qwen/Qwen2.5-14B-Instruct-AWQ"
    assert agent["name"] == "qwen2-5-14b-instruct"
    assert any(line["file"].startswith("hf.co/bartowski/") for line in answer["lines"])


@pytest.mark.parametrize(
    ("name", "tag", "parameters", "repo"),
    [
        ("qwen2.5", "latest", "7.6B", "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen2.5", "0.5b", "494.03M", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("qwen2.5", "14b-instruct-q5_K_M", "14.8B", "Qwen/Qwen2.5-14B-Instruct"),
        ("qwen2.5-coder", "7b-base", None, "Qwen/Qwen2.5-Coder-7B"),
        ("qwen3", "0.6b", "751.63M", "Qwen/Qwen3-0.6B"),
        ("qwen3", "30b-a3b", "30.5B", "Qwen/Qwen3-30B-A3B"),
        ("qwen3", "4b-instruct-2507-q4_K_M", None, "Qwen/Qwen3-4B-Instruct-2507"),
        ("qwq", "latest", "32.8B", "Qwen/QwQ-32B"),
        ("llama3.2", "latest", "3.2B", "meta-llama/Llama-3.2-3B-Instruct"),
        ("phi4", "latest", "14.7B", "microsoft/phi-4"),
        ("mistral", "7b", "7.2B", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("qwen2.5", "9b", None, None),
        ("llama4", "latest", None, None),
        ("mistral", "latest", "24B", None),
    ],
)
def test_names_of_the_library(name, tag, parameters, repo):
    found = ollama_library.by_name(name, tag, parameters)
    assert (found.repo if found else None) == repo


@pytest.mark.parametrize(
    ("told", "repo"),
    [
        ({"general.name": "Meta Llama 3.1 8B Instruct"}, "meta-llama/Llama-3.1-8B-Instruct"),
        ({"general.basename": "Qwen3", "general.size_label": "8B"}, "Qwen/Qwen3-8B"),
        ({"general.name": "../../etc/passwd"}, None),
        ({"general.name": "My Finetune 7B"}, None),
        ({}, None),
    ],
)
def test_the_name_in_a_file_is_used(told, repo):
    found = ollama_library.by_metadata(told)
    assert (found.repo if found else None) == repo


@pytest.mark.parametrize(
    "content",
    [b"", b"GGUF", b"XXXX" + bytes(99), gguf_head(name="x")[:40], b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 2**62)],
)
def test_a_truncated_or_wrong_header_is_tolerated(tmp_path, content):
    (tmp_path / "blob").write_bytes(content)
    assert gguf_metadata.read(tmp_path / "blob").get("general.name") is None
    assert gguf_metadata.read(tmp_path / "none") == {}


def test_the_header_is_read_without_the_tokenizer(tmp_path):
    (tmp_path / "blob").write_bytes(gguf_head(name="Qwen3 8B", size_label="8B"))
    assert gguf_metadata.read(tmp_path / "blob") == {
        "general.name": "Qwen3 8B",
        "general.size_label": "8B",
        "qwen2.context_length": 32768,
    }


MODELFILE = '''# the architect
FROM qwen2.5:32b-instruct-q5_K_M
PARAMETER temperature 0.1
PARAMETER num_ctx 32768
SYSTEM """
You are a software architect.
PARAMETER of nothing
"""
TEMPLATE "{{ .Prompt }}"
'''


def test_each_line_of_a_modelfile_is_reported(tmp_path, capsys):
    file = tmp_path / "Modelfile.architect"
    file.write_text(MODELFILE)
    assert main.main(["import", str(file), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (agent,) = answer["agents"]
    assert (agent["name"], agent["temperature"], agent["top_p"]) == ("architect", 0.1, 0.9)
    assert (agent["models"][0]["model"], agent["max_model_len"]) == ("Qwen/Qwen2.5-32B-Instruct-AWQ", 32768)
    assert [(line["number"], line["text"].split()[0]) for line in answer["lines"] if line["number"]] == [
        (2, "FROM"),
        (3, "PARAMETER"),
        (4, "PARAMETER"),
        (5, "SYSTEM"),
        (9, "TEMPLATE"),
    ]


@pytest.mark.parametrize("line", ["RENDERER qwen3", "PARAMTER temperature 0.2", "PARAMETER", "num_ctx 4096"])
def test_an_unknown_line_of_a_modelfile_is_reported(tmp_path, line):
    file = tmp_path / "Modelfile"
    file.write_text(f"FROM qwen2.5:7b\n# what one keeps in mind\n{line}\n")
    (told,) = (each for each in agent.import_source(modelfile.source(file)).lines if each.number == 3)
    assert (told.outcome, "not a Modelfile instruction" in told.why) == ("dropped", True)


def test_unclosed_quotes_in_a_modelfile_are_refused(tmp_path, capsys):
    file = tmp_path / "Modelfile"
    file.write_text('FROM qwen2.5:7b\nSYSTEM """You plan.\nPARAMETER temperature 0.2\n')
    assert main.main(["import", str(file), "--json"]) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert (error["code"], error["fields"]) == ("quotes_not_closed", {"file": str(file), "line": 2})


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('PARAMETER stop "x"', "x"),
        ('PARAMETER stop "<|im_end|>', '"<|im_end|>'),
        ('PARAMETER temperature "0.3"', "0.3"),
        ('SYSTEM "You plan."', "You plan."),
        ('SYSTEM Say "yes"', 'Say "yes"'),
    ],
)
def test_quotes_in_a_modelfile_are_removed_as_a_pair(tmp_path, line, text):
    file = tmp_path / "Modelfile"
    file.write_text(f"FROM qwen2.5:7b\n{line}\n")
    read = modelfile.source(file)
    made = agent.import_source(read)
    assert [each.value for each in read.settings if each.number == 2] == [text]
    assert made.agent["temperature"] == (0.3 if "0.3" in line else 0.8)


def test_a_modelfile_with_a_file_needs_a_model(tmp_path, capsys):
    file = tmp_path / "Modelfile"
    file.write_text("FROM ./own.gguf\nPARAMETER temperature 0.2\n")
    assert main.main(["import", str(file)]) == 1
    assert "--model OWNER/NAME" in capsys.readouterr().err
    assert main.main(["import", str(file), "--model", "Qwen/Qwen2.5-7B-Instruct-AWQ"]) == 0


def test_importing_from_ollama_needs_no_pyyaml(store, monkeypatch):
    store.add("qwen2.5:7b", gguf_head(name="Qwen2.5 7B Instruct"))
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert main.main(["import", "ollama", "--store", str(store.folder)]) == 0
