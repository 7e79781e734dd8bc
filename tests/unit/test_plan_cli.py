"""The command scripts/plan.py: its JSON, its text, and one sentence for an invalid argument."""

import json
import shlex
import subprocess
import sys

import gpu_facts
import pytest
from small_server import Handler, served

from roundhouse.catalog import gpus, model_families
from roundhouse.cli import plan, plan_options
from roundhouse.host import gpu
from roundhouse.paths import CHECKOUT

AWQ_14B = "--model Qwen/Qwen2.5-14B-Instruct-AWQ"
KEYS = {
    *("schema", "ok", "verdict", "weights_gib_per_rank", "kv_bytes_per_token_per_rank", "overhead_gib"),
    *("overhead_terms", "kv_gib_per_rank", "kv_tokens", "max_model_len_possible", "gap_gib"),
    *("decode_ceiling_tokens_per_second", "reasons", "max_model_len", "max_model_len_fits"),
}


def run(capsys, line):
    """Return the exit status, stdout and stderr."""
    status = plan.main(shlex.split(line))
    return status, *capsys.readouterr()


def test_an_answer_in_json(capsys):
    line = f"--json {AWQ_14B} --quantization awq --vram-gib 22.06 --gpu-memory-utilization 0.9 --max-model-len 4096"
    status, out, _ = run(capsys, line)
    answer = json.loads(out)
    assert status == 0
    assert set(answer) == KEYS
    assert (answer["schema"], answer["ok"], answer["verdict"]) == (2, True, "fits")
    assert answer["weights_gib_per_rank"] == pytest.approx(9.36, abs=0.03)
    assert answer["kv_bytes_per_token_per_rank"] == 196608
    terms = sum(term["gib"] for term in answer["overhead_terms"].values())
    assert answer["overhead_gib"] == pytest.approx(terms, abs=0.002)
    for term in answer["overhead_terms"].values():
        assert set(term) == {"gib", "uncertainty_gib", "cause"}
    assert answer["decode_ceiling_tokens_per_second"] is None
    assert answer["reasons"] == []


def test_all_options_of_one_model_together(capsys):
    line = (
        f"--json {AWQ_14B} --gpu 'RTX 5060 Ti 16GB' --gpus 2 --vram-gib 16 --kv-cache-dtype fp8 "
        "--tensor-parallel-size 2 --max-num-seqs 8 --max-num-batched-tokens 2048 --enforce-eager --shared-display "
        "--max-model-len 16384 --gpu-memory-utilization 0.8 --explain"
    )
    status, out, _ = run(capsys, line)
    answer = json.loads(out)
    assert status == 0
    assert answer["kv_bytes_per_token_per_rank"] == 49152
    assert {"nccl", "display", "attention_workspace"} <= set(answer["overhead_terms"])
    assert "cuda_graphs" not in answer["overhead_terms"]
    assert all(row["formula"] and row["source"] for row in answer["explain"])


def test_a_model_that_does_not_fit_exits_with_1(capsys):
    status, out, _ = run(capsys, "--model Qwen/Qwen2.5-Coder-32B-Instruct-AWQ --gpu 'RTX 5060 Ti 16GB' --vram-gib 16")
    assert status == 1
    assert out.splitlines()[1] == "does not fit"
    assert "The weights take 18.1" in out
    assert "decode ceiling: 25 tokens/s" in out


def test_the_answer_names_the_cards_that_a_model_needs(capsys):
    line = "--model Qwen/Qwen2.5-32B-Instruct-AWQ --vram-gib 23.5 --max-model-len 32768 --gpus"
    assert "With --tensor-parallel-size 2 it fits." in run(capsys, f"{line} 2")[1]
    assert "It does not fit on 2 cards either." in run(capsys, f"{line.replace('23.5', '8')} 2")[1]


def test_a_model_that_is_not_covered_is_unknown_and_has_no_numbers(capsys, tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["GptOssForCausalLM"], "layer_types": ["sliding"]}')
    for name, code in (
        ("someone/Unheard-20B", "model_unknown"),
        ("someone/Unheard-20B --quantization quark", "model_not_covered"),
        (str(tmp_path), "model_not_covered"),
    ):
        assert run(capsys, f"--model {name} --vram-gib 79")[:2] == (1, "")
        status, out, _ = run(capsys, f"--json --model {name} --vram-gib 79")
        answer = json.loads(out)
        assert (status, answer["ok"], answer["verdict"]) == (1, False, "unknown")
        assert [error["code"] for error in answer["errors"]] == [code]
        assert answer["weights_gib_per_rank"] is None
        assert answer["kv_tokens"] is None
        assert len(answer["reasons"]) == 1


@pytest.mark.parametrize(
    ("line", "code", "parts"),
    [
        (
            f"{AWQ_14B} --vram-gib 16 --max-num-seqs 64 --max-num-batched-tokens 32",
            "max_num_seqs_invalid",
            ("--max-num-seqs is 64", "tokens, 32"),
        ),
        ("--max-model-len 4096 --vram-gib 16", "model_missing", ("--max-model-len", "Add --model")),
        ("--gpus 2", "card_missing", ("--gpus", "Add --gpu or --vram-gib")),
        ("--vram-gib 16 --gpus 0", "gpus_invalid", ("--gpus is 0", "from 1")),
        ("--vram-gib 16 --roster /nowhere.yml", "roster_unreadable", ("/nowhere.yml",)),
        ("--model foo --vram-gib 16", "model_invalid", ("'foo'", "owner/name")),
        ("--model Qwen3-14B-AQW --vram-gib 16", "model_invalid", ("Did you mean Qwen/Qwen3-14B-AWQ",)),
        ("--model a/b-GGUF --vram-gib 16", "model_is_gguf", ("a/b-GGUF", "AWQ")),
        ("--model ./nowhere --vram-gib 16", "model_folder_invalid", ("nowhere", "config.json")),
        (f"{AWQ_14B} --vram-gib 0", "vram_gib_invalid", ("--vram-gib is 0.0", "15.5")),
        (f"{AWQ_14B} --vram-gib inf", "vram_gib_invalid", ("--vram-gib is 'inf'",)),
        (f"{AWQ_14B} --vram-gib nan", "vram_gib_invalid", ("--vram-gib is 'nan'",)),
        (f"{AWQ_14B} --vram-gib sixteen", "usage", ("--vram-gib", "'sixteen'")),
        (f"{AWQ_14B} --gpu 'RTX 9999'", "unknown_gpu", ("'RTX 9999'", "--list-gpus")),
        ("--gpu 'RTX 409'", "unknown_gpu", ("'RTX 409'", "Did you mean RTX 4090?")),
        (f"{AWQ_14B} --gpu 'RTX 4090 Laptop'", "unknown_gpu", ("laptop", "--vram-gib")),
        ("--gpu '5060 Ti'", "gpu_ambiguous", ("'5060 Ti' is ambiguous: RTX 5060 Ti 8GB or RTX 5060 Ti 16GB. Write",)),
        ("--gpu '4060 Ti'", "gpu_ambiguous", ("RTX 4060 Ti 8GB or RTX 4060 Ti 16GB", '--gpu "RTX 4060 Ti 8GB"')),
        (f"{AWQ_14B} --gpu A100", "gpu_ambiguous", ("A100 40GB or A100 80GB",)),
        ("--gpu 'Apple M2 Max' --vram-gib 16", "gpu_not_nvidia", ("'Apple M2 Max' is not an NVIDIA GPU",)),
        ("--gpu 'M4 Pro' --vram-gib 16", "gpu_not_nvidia", ("'M4 Pro'",)),
        (f"{AWQ_14B} --gpu 'RX 7900 XTX' --vram-gib 16", "gpu_not_nvidia", ("'RX 7900 XTX'",)),
        ("--gpu 'AMD Radeon Pro W7900' --vram-gib 48", "gpu_not_nvidia", ("Radeon",)),
        ("--gpu 'Intel Arc A770' --vram-gib 16", "gpu_not_nvidia", ("Arc",)),
        ("--gpu Radeon", "gpu_not_nvidia", ("'Radeon'", "--list-gpus")),
        ("--gpu 'Quadro P5000' --vram-gib 16", "gpu_too_old", ("Quadro P5000 is too old", "6.1")),
        (f"{AWQ_14B} --gpu P6000 --vram-gib 24", "gpu_too_old", ("Quadro P6000 is too old",)),
        ("--gpu 'Quadro M6000 24GB' --vram-gib 24", "gpu_too_old", ("Quadro M6000 is too old", "5.2")),
        ("--gpu 'Tesla K80' --vram-gib 12", "gpu_too_old", ("K80 is too old", "3.7")),
        ("--gpu 'Tesla M40' --vram-gib 24", "gpu_too_old", ("M40 is too old", "5.2")),
        ("--gpu 'GT 1030' --vram-gib 16", "gpu_too_old", ("GT 1030 is too old", "6.1")),
        ("--gpu 'Tesla V100-SXM2-32GB' --vram-gib 32", "gpu_too_old", ("V100 is too old",)),
        ("--gpu 'GTX 1080'", "gpu_too_old", ("GTX 1080 is too old", "6.1", "7.5")),
        (f"{AWQ_14B} --gpu gtx1080ti --vram-gib 80", "gpu_too_old", ("GTX 1080 Ti is too old",)),
        ("--gpu V100", "gpu_too_old", ("7.0", "7.5")),
        ("--gpu 'RTX 4090' --compile-cache wram", "choice_invalid", ("'wram'", "Did you mean warm?")),
        (f"{AWQ_14B} --gpu 'DGX Spark'", "gpu_memory_unknown", ("'DGX Spark'", "--vram-gib")),
        ("--gpu 'NVIDIA GB10'", "gpu_memory_unknown", ("'NVIDIA GB10'", "--vram-gib")),
        ("--gpu 'GT 710' --vram-gib 2", "gpu_too_old", ("GT 710 is too old", "3.5")),
        ("--gpu 'Jetson AGX Orin' --vram-gib 60", "gpu_unsupported", ("integrated GPU of a Jetson", "DGX Spark")),
        ("--gpu 'H100 80GB MIG 1g.10gb' --vram-gib 10", "gpu_unsupported", ("divided card (MIG)", "whole PCI card")),
        (f"{AWQ_14B} --vram-gib 16 --gpus 1 --tensor-parallel-size 2", "gpus_too_few", ("--gpus is 1",)),
        (f"{AWQ_14B} --vram-gib 16 --gpu-memory-utilization 85", "gpu_memory_utilization_invalid", ("85.0", "0.85")),
        (f"{AWQ_14B} --vram-gib 16 --gpu-memory-utilization 0", "gpu_memory_utilization_invalid", ("0.0", "as 0.9")),
        (f"{AWQ_14B} --vram-gib 16 --max-model-len 65536", "max_model_len_invalid", ("65536", "32768")),
        (f"{AWQ_14B} --vram-gib 16 --max-model-len 0", "max_model_len_invalid", ("--max-model-len is 0", "from 1")),
        (f"{AWQ_14B} --vram-gib 16 --max-num-seqs -1", "max_num_seqs_invalid", ("--max-num-seqs is -1", "from 1")),
        (f"{AWQ_14B} --vram-gib 16 --kv-cache-dtype int8", "kv_cache_dtype_invalid", ("'int8'", "fp8")),
        (f"{AWQ_14B} --vram-gib 16 --quantization q4_K_M", "quantization_of_llama_cpp", ("'q4_K_M'", "awq")),
        (f"{AWQ_14B} --vram-gib 16 --quantization int3", "quantization_invalid", ("'int3'", "gptq-int4")),
        (f"{AWQ_14B} --vram-gib 16 --quantization gptq", "quantization_of_another_checkpoint", ("'gptq'", "is awq")),
        (
            "--model Qwen/Qwen2.5-7B-Instruct --vram-gib 16 --quantization gptq",
            "quantization_ambiguous",
            ("gptq-int4, gptq-int8",),
        ),
        ("--model Qwen/Qwen2.5-7B --vram-gib 16", "max_model_len_missing", ("Qwen/Qwen2.5-7B", "--max-model-len")),
        ("--calibrate logs.json", "option_gone", ("--calibrate", "benchmarks/calibration.py")),
        ("--vllm-version 0.9", "option_gone", ("--vllm-version", "the pinned engine")),
        ("--vllm-version", "option_gone", ("--vllm-version",)),
        ("--roster /bin/true", "roster_unreadable", ("/bin/true",)),
    ],
)
def test_an_invalid_option_has_a_code_a_sentence_and_status_2(capsys, line, code, parts):
    status, out, err = run(capsys, line)
    assert (status, out) == (2, "")
    for part in parts:
        assert part in " ".join(err.split())
    status, out, _ = run(capsys, f"--json {line}")
    answer = json.loads(out)
    (error,) = answer["errors"]
    assert (status, answer["ok"], error["code"]) == (2, False, code)
    assert error["message"].split() == err.split()


@pytest.mark.parametrize("line", ["", AWQ_14B])
def test_on_a_machine_without_a_card_the_error_names_the_options(capsys, monkeypatch, line):
    monkeypatch.setattr(gpu, "facts", lambda: {"gpus": []})
    status, out, err = run(capsys, line)
    assert (status, out) == (2, "")
    assert "no NVIDIA GPU" in err
    assert "--gpu" in err
    assert "--vram-gib" in err


def own_card(monkeypatch, name, memory_gib, capability, **more):
    """Give this machine one card."""
    told = {"device_id": "1b80", "name": name, "memory_gib": memory_gib, "compute_capability": capability}
    card = gpu_facts.card(**(told | more))
    monkeypatch.setattr(gpu, "facts", lambda: {"gpus": [card]})


def test_one_model_is_planned_on_this_machines_card(capsys, monkeypatch):
    own_card(monkeypatch, "NVIDIA GeForce RTX 5060 Ti", 15.95, [12, 0])
    assert "on NVIDIA GeForce RTX 5060 Ti of 15.5 GiB" in run(capsys, AWQ_14B)[1]


def test_this_machines_old_card_is_refused(capsys, monkeypatch):
    own_card(monkeypatch, "NVIDIA GeForce GTX 1080", 8.0, [6, 1])
    for line in ("--json", f"--json {AWQ_14B}"):
        status, out, _ = run(capsys, line)
        assert (status, json.loads(out)["errors"][0]["code"]) == (2, "gpu_too_old")


@pytest.mark.parametrize(
    ("cards", "line"),
    [
        ("--gpu 'RTX 4090' --shared-display", "  desktop       0.70 GiB  outside the engine's share"),
        ("--gpu GB10 --vram-gib 119", "  system        8.60 GiB  outside the engine's share"),
    ],
)
def test_one_models_answer_shows_the_memory_of_others_on_the_card(capsys, cards, line):
    assert line in run(capsys, f"{AWQ_14B} {cards}")[1].splitlines()
    assert "outside" not in run(capsys, f"{AWQ_14B} --gpu 'RTX 4090'")[1]


def test_a_gb10_shares_the_hosts_memory_by_each_of_its_names(capsys):
    for name in ("DGX Spark", "GB10", "NVIDIA GB10"):
        status, out, _ = run(capsys, f"--gpu '{name}' --vram-gib 119")
        assert status == 1
        assert "agents[dev].gpu_memory_utilization is 0.95, but the card shares the host's memory" in out


def test_an_old_card_without_a_driver_is_refused_by_its_generation(capsys, monkeypatch):
    own_card(monkeypatch, None, None, None, architecture=gpu.PRE_TURING)
    error = json.loads(run(capsys, "--json")[1])["errors"][0]
    assert (error["code"], error["fields"]["gpu"], error["fields"]["capability"]) == ("gpu_too_old", "10de:1b80", None)


def test_a_shorter_length_that_fits_is_the_headline(capsys):
    status, out, _ = run(capsys, "--model Qwen/Qwen3-14B-AWQ --gpu '5060 Ti 16GB'")
    assert status == 0
    assert out.splitlines()[1:3] == [
        "fits with 6,016 tokens; uncertain up to 15,520",
        "does not fit with 40,960 tokens",
    ]
    answer = json.loads(run(capsys, "--json --model Qwen/Qwen3-14B-AWQ --gpu '5060 Ti 16GB'")[1])
    assert (answer["verdict"], answer["max_model_len"], answer["max_model_len_fits"]) == ("no", 40960, 6016)
    for length, verdict in ((6016, "fits"), (6032, "tight"), (15520, "tight"), (15536, "tight"), (40960, "no")):
        line = f"--json --model Qwen/Qwen3-14B-AWQ --gpu '5060 Ti 16GB' --max-model-len {length}"
        assert json.loads(run(capsys, line)[1])["verdict"] == verdict
    assert (
        "fits with 6,016 tokens\n" in run(capsys, "--model Qwen/Qwen3-14B-AWQ --gpu 5060ti16gb --max-model-len 6016")[1]
    )


def test_a_tight_length_is_uncertain(capsys):
    line = f"{AWQ_14B} --vram-gib 15.5 --kv-cache-dtype fp8"
    assert json.loads(run(capsys, f"--json {line}")[1])["verdict"] == "tight"
    status, out, _ = run(capsys, line)
    assert status == 0
    assert out.splitlines()[1:3] == ["fits with 5,232 tokens; uncertain up to 21,616", "uncertain with 32,768 tokens"]


@pytest.mark.parametrize(
    ("line", "verdict", "status"),
    [
        ("--max-model-len 6016", "fits", 0),
        ("--max-model-len 15520", "tight", 1),
        ("--max-model-len 40960", "no", 1),
        ("", "no", 0),  # a shorter length fits
        ("--gpu-memory-utilization 0.6", "no", 1),  # the weights alone are larger than the share
    ],
)
@pytest.mark.parametrize("json_option", ["", "--json"])
def test_the_exit_status_is_that_of_the_asked_length(capsys, line, verdict, status, json_option):
    asked = f"--model Qwen/Qwen3-14B-AWQ --gpu '5060 Ti 16GB' {line}"
    assert json.loads(run(capsys, f"--json {asked}")[1])["verdict"] == verdict
    assert run(capsys, f"{json_option} {asked}")[0] == status


def test_a_model_that_is_tight_fails_in_a_roster_too(capsys, tmp_path):
    roster = tmp_path / "agents.yml"
    agent = {
        **{"name": "dev", "port": 8000, "max_model_len": 8192, "kv_cache_dtype": "fp8", "give_up": []},
        **{"gpu_memory_utilization": 0.85, "temperature": 0.1, "top_p": 0.9, "max_num_seqs": 16},
        **{"models": [{"model": "Qwen/Qwen2.5-32B-Instruct-AWQ", "quantization": "awq"}]},
    }
    roster.write_text(json.dumps({"agents": [agent]}))
    line = f"--gpu 3090 --roster {roster}"
    (shown,) = json.loads(run(capsys, f"--json {line}")[1])["agents"]
    assert (shown["verdict"], run(capsys, line)[0]) == ("tight", 1)


def test_the_roster_begins_with_one_line_for_each_agent(capsys):
    status, out, _ = run(capsys, "--gpu 3090")
    assert status == 0
    assert len(out.splitlines()) < 24
    assert [line.split() for line in out.splitlines() if " fits " in line] == [
        ["architect", "fits", "Qwen2.5-14B-Instruct-AWQ", "32,768", "tokens"],
        ["dev", "fits", "Qwen2.5-Coder-32B-Instruct-AWQ", "20,480", "tokens"],
        ["po", "fits", "Qwen2.5-7B-Instruct", "16,384", "tokens"],
    ]
    assert "--details" in out
    detailed = run(capsys, "--gpu 3090 --details")[1]
    assert "Memory of a card: # weights" in detailed
    assert detailed.splitlines()[:5] == out.splitlines()[:5]


def test_the_support_of_an_unknown_card_is_a_condition_of_the_headline(capsys):
    out = run(capsys, f"{AWQ_14B} --gpu 'RTX 9999' --vram-gib 30")[1]
    assert out.splitlines()[:2] == [
        "Qwen/Qwen2.5-14B-Instruct-AWQ (awq) on RTX 9999 of 30 GiB:",
        "fits with 32,768 tokens, if vLLM supports RTX 9999",
    ]
    assert run(capsys, "--gpu 'RTX 9999' --vram-gib 30")[1].splitlines()[0] == (
        "RTX 9999 of 30 GiB, if vLLM supports this card: it is not in the catalog"
    )
    assert "if vLLM supports" not in run(capsys, f"{AWQ_14B} --gpu 4090")[1]


def test_the_longest_length_of_the_card_holds_for_the_fit(capsys):
    """The expected overhead leaves room for 15,520 tokens, and 16,000 exceed it."""
    line = "--json --model Qwen/Qwen3-14B-AWQ --gpu '5060 Ti 16GB' --max-model-len"
    assert json.loads(run(capsys, f"{line} 15520")[1])["gap_gib"] <= 0
    assert json.loads(run(capsys, f"{line} 16000")[1])["gap_gib"] > 0


def test_the_memory_selects_one_of_two_sizes_of_a_card(capsys):
    assert "RTX 4060 Ti 8GB of 7.5 GiB" in run(capsys, "--model Qwen/Qwen3-4B --gpu '4060 Ti' --vram-gib 8")[1]
    assert "RTX 5060 Ti 16GB of 15.5 GiB" in run(capsys, f"{AWQ_14B} --gpu '5060 Ti' --vram-gib 16")[1]


class Hub(Handler):
    """Serve the config.json of one model, as a hub does."""

    def do_GET(self):
        there = self.path == "/own/draft-7B/resolve/main/config.json"
        self.send_response(200 if there else 404)
        self.end_headers()
        self.wfile.write(CONFIG.encode() if there else b"")


CONFIG = json.dumps(
    {
        "architectures": ["Qwen3ForCausalLM"],
        **{"hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8},
        **{"head_dim": 128, "intermediate_size": 9728, "vocab_size": 151936, "max_position_embeddings": 40960},
    }
)


def test_the_commands_of_an_unknown_model_add_it(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with served(Hub) as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
        status, out, err = run(capsys, "--model own/draft-7B --gpu 4090")
        assert (status, out) == (1, "")
        fetch, _, ask = err.partition("name the folder:\n")[2].partition("  roundhouse-plan ")
        subprocess.run(fetch, shell=True, check=True, capture_output=True)  # noqa: S602 - the text is under test
    status, out, _ = run(capsys, f"{ask} --gpu 4090")
    assert status == 0
    assert "fits with 40,960 tokens" in out


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("Qwen/Qwen3-14B-AQW", "Qwen/Qwen3-14B-AWQ"),
        ("qwen/qwen3-14b-awq", "Qwen/Qwen3-14B-AWQ"),
        ("Qwen/Qwen3.8-72B", "Qwen/Qwen3.8-27B"),
        ("unsloth/Qwen3-14B", "Qwen/Qwen3-14B"),
        ("someone/Unheard-20B", None),
    ],
)
def test_an_unknown_model_has_similar_names(capsys, name, first):
    error = json.loads(run(capsys, f"--json --model {name} --gpu 4090")[1])["errors"][0]
    assert next(iter(error["fields"]["candidates"]), None) == first
    assert first is None or f"Did you mean {first}" in error["remedy"]


def test_the_catalog_finds_each_listed_model():
    listed = model_families.known()
    assert len(listed) > 100
    assert all(model_families.find(name) for name in listed)


def test_the_list_of_cards_states_which_are_supported(capsys):
    status, out, _ = run(capsys, "--list-gpus --json")
    cards = {card["gpu"]: card for card in json.loads(out)["gpus"]}
    assert status == 0
    assert (cards["GTX 1080"]["supported"], cards["T4"]["supported"]) == (False, True)
    assert set(cards) == {card.name for card in (*gpus.CARDS, *gpus.LEGACY_CARDS)}
    assert (cards["K80"]["memory_gb"], cards["K80"]["compute_capability"]) == (None, "3.7")
    assert "RTX 5090" in run(capsys, "--list-gpus")[1]


ROSTERS = [*(CHECKOUT / "group_vars").rglob("agents.yml"), *(CHECKOUT / "rosters").glob("*.yml")]


@pytest.mark.parametrize("roster", ROSTERS, ids=[path.name for path in ROSTERS])
@pytest.mark.parametrize("card", ["--gpu '5060 Ti 16GB'", "--gpu 3090", "--gpu 4090 --gpus 2", "--gpu 'H100 80GB'"])
def test_each_shipped_roster_has_a_plan_of_80_columns(capsys, monkeypatch, roster, card):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(capsys, f"{card} --roster {roster} --explain")
    assert (status, err) == (0, "")
    agents = [agent["name"] for agent in plan.read(roster)]
    assert all(f"\n{name}: " in out for name in agents)
    assert [line for line in out.splitlines() if len(line) > 80 and " " in line.strip()] == []


def test_without_a_checkout_the_roster_is_missing(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_options, "ROSTER", tmp_path / "group_vars/all/agents.yml")
    status, out, _ = run(capsys, f"--json --vram-gib 16 --roster {plan_options.ROSTER}")
    assert (status, json.loads(out)["errors"][0]["code"]) == (2, "roster_missing")


def test_without_pyyaml_the_error_names_both_installations(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    status, _, text = run(capsys, f"--vram-gib 16 --roster {tmp_path}")
    assert status == 2
    assert "pip install 'roundhouse[import]'" in text
    assert "make setup" in text


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ("Qwen/Qwen3-8B-FP8 --quantization fp8", "fp8-block"),
        ("Qwen/Qwen3-8B --quantization fp8", "fp8"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8 --quantization gptq", "gptq-int8"),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ --quantization awq_marlin", "awq"),
        ("Qwen/Qwen2.5-7B-Instruct --quantization bitsandbytes", "bnb4"),
        ("Qwen/Qwen2.5-Coder-0.5B-Instruct", "bf16"),
    ],
)
def test_the_format_is_the_checkpoints_or_the_options(capsys, line, form):
    assert f"({form})" in run(capsys, f"--vram-gib 40 --model {line}")[1]


@pytest.mark.parametrize(
    ("name", "near_gib", "found"),
    [
        ("RTX 5060 Ti", None, None),
        ("NVIDIA GeForce RTX 4090", None, "RTX 4090"),
        ("NVIDIA GeForce RTX 4060 Ti 16GB", None, "RTX 4060 Ti 16GB"),
        ("NVIDIA A100-SXM4-80GB", None, "A100 80GB"),
        ("NVIDIA A100-SXM4-40GB", None, "A100 40GB"),
        ("A100", 79.1, "A100 80GB"),
        ("A100", None, None),
        ("NVIDIA A10G", None, "A10G"),
        ("NVIDIA H100 80GB HBM3", None, "H100 80GB"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", None, "RTX PRO 6000"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None, None),
        ("RTX 5060 Ti 8GB", None, "RTX 5060 Ti 8GB"),
        ("RTX 5060 Ti 12GB", None, None),
        ("3090", None, "RTX 3090"),
        ("5060 Ti", 15.9, "RTX 5060 Ti 16GB"),
        ("rtx4090", None, "RTX 4090"),
        ("4060 Ti 8GB", None, "RTX 4060 Ti 8GB"),
        ("4060ti 16gb", None, "RTX 4060 Ti 16GB"),
        ("4060 Ti", None, None),
        ("RTX 4060 Ti", 8.0, "RTX 4060 Ti 8GB"),
        ("NVIDIA GeForce RTX 5060 Ti", 7.96, "RTX 5060 Ti 8GB"),
        ("NVIDIA RTX 6000 Ada Generation", None, "RTX 6000 Ada"),
        ("A6000", None, "RTX A6000"),
        ("Radeon", None, None),
    ],
)
def test_cards_by_the_names_that_people_and_drivers_use(name, near_gib, found):
    card = gpus.find(name, near_gib)
    assert (card.name if card else None) == found


def test_vllm_supports_the_cards_and_not_the_legacy_cards():
    assert not [card for card in gpus.CARDS if gpus.is_too_old(card.capability)]
    assert not [card for card in gpus.LEGACY_CARDS if not gpus.is_too_old(card.capability)]
    listed = [card.name for card in (*gpus.CARDS, *gpus.LEGACY_CARDS)]
    assert len(set(listed)) == len(listed)
    assert not [name for name in listed if gpus.is_of_other_maker(name)]
    assert not [card for card in gpus.CARDS if gpus.legacy(card.name)]
    assert all(gpus.legacy(card.name) == card for card in gpus.LEGACY_CARDS)


def test_a_card_never_states_more_memory_than_its_box():
    for card in gpus.CARDS:
        assert card.cuda_gib is None or card.marketing_gb * 0.85 < card.cuda_gib <= card.marketing_gb
        assert card.source
