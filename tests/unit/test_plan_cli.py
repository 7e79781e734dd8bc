"""The command scripts/plan.py: its JSON, its text, and one sentence for an invalid argument."""

import json
import shlex
import sys

import pytest

from roundhouse.catalog import gpus
from roundhouse.cli import plan

AWQ_14B = "--model Qwen/Qwen2.5-14B-Instruct-AWQ"
KEYS = {
    *("schema", "ok", "verdict", "weights_gib_per_rank", "kv_bytes_per_token_per_rank", "overhead_gib"),
    *("overhead_terms", "kv_gib_per_rank", "kv_tokens", "max_model_len_possible", "gap_gib"),
    *("decode_ceiling_tokens_per_second", "reasons"),
}


def run(capsys, line):
    """Return the exit status, stdout and stderr."""
    status = plan.main(shlex.split(line))
    return status, *capsys.readouterr()


def test_the_issues_own_question(capsys):
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


def test_every_option_of_the_issue_is_taken(capsys):
    line = (
        f"--json {AWQ_14B} --gpu 'RTX 5060 Ti' --gpus 2 --vram-gib 16 --kv-cache-dtype fp8 --tensor-parallel-size 2 "
        "--max-num-seqs 8 --max-num-batched-tokens 2048 --enforce-eager --shared-display "
        "--max-model-len 16384 --gpu-memory-utilization 0.8 --explain"
    )
    status, out, _ = run(capsys, line)
    answer = json.loads(out)
    assert status == 0
    assert answer["kv_bytes_per_token_per_rank"] == 49152
    assert {"nccl", "display", "attention_workspace"} <= set(answer["overhead_terms"])
    assert "cuda_graphs" not in answer["overhead_terms"]
    assert all(row["formula"] and row["source"] for row in answer["explain"])


def test_a_refusal_is_an_answer(capsys):
    status, out, _ = run(capsys, "--model Qwen/Qwen2.5-Coder-32B-Instruct-AWQ --gpu 'RTX 5060 Ti' --vram-gib 16")
    assert status == 0
    assert "no at 32768 tokens" in out
    assert "The weights take 18.1" in out
    assert "decode ceiling: 25 tokens/s" in out


def test_more_cards_are_named_when_they_would_do(capsys):
    line = "--model Qwen/Qwen2.5-32B-Instruct-AWQ --vram-gib 23.5 --max-model-len 32768 --gpus"
    assert "With --tensor-parallel-size 2 it fits." in run(capsys, f"{line} 2")[1]
    assert "No number of 2 cards" in run(capsys, f"{line.replace('23.5', '8')} 2")[1]


def test_a_model_that_is_not_covered_is_unknown_and_bears_no_number(capsys, tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["GptOssForCausalLM"], "layer_types": ["sliding"]}')
    for name in ("openai/gpt-oss-20b", "openai/gpt-oss-20b --quantization mxfp4", str(tmp_path)):
        status, out, _ = run(capsys, f"--json --model {name} --vram-gib 79")
        answer = json.loads(out)
        assert (status, answer["ok"], answer["verdict"]) == (0, True, "unknown")
        assert answer["weights_gib_per_rank"] is None
        assert answer["kv_tokens"] is None
        assert len(answer["reasons"]) == 1


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (
            f"{AWQ_14B} --vram-gib 16 --max-num-seqs 64 --max-num-batched-tokens 32",
            ("--max-num-seqs is 64", "tokens, 32"),
        ),
        ("--max-model-len 4096 --vram-gib 16", ("--max-model-len asks about a single model", "Add --model")),
        ("--gpus 2", ("--gpus is about cards", "Add --gpu or --vram-gib")),
        ("--vram-gib 16 --gpus 0", ("--gpus is 0", "from 1")),
        ("--vram-gib 16 --roster /nowhere.yml", ("--roster is '/nowhere.yml'",)),
        ("--model foo --vram-gib 16", ("--model is 'foo'", "owner/name")),
        ("--model a/b-GGUF --vram-gib 16", ("--model is 'a/b-GGUF'", "AWQ")),
        ("--model ./nowhere --vram-gib 16", ("folder nowhere", "config.json")),
        (AWQ_14B, ("--vram-gib is missing",)),
        (f"{AWQ_14B} --vram-gib 0", ("--vram-gib is 0.0", "15.5")),
        (f"{AWQ_14B} --vram-gib inf", ("--vram-gib is 'inf'",)),
        (f"{AWQ_14B} --vram-gib nan", ("--vram-gib is 'nan'",)),
        (f"{AWQ_14B} --vram-gib sixteen", ("--vram-gib", "'sixteen'")),
        (f"{AWQ_14B} --gpu 'RTX 9999'", ("--gpu is 'RTX 9999'", "RTX 4090")),
        ("--gpu 'RTX 409'", ("--gpu is 'RTX 409'", "Did you mean RTX 4090?")),
        ("--gpu 'RTX 4090' --compile-cache wram", ("--compile-cache is 'wram'. Did you mean warm?",)),
        (f"{AWQ_14B} --gpu 'DGX Spark'", ("--gpu is 'DGX Spark'", "--vram-gib")),
        (f"{AWQ_14B} --vram-gib 16 --gpus 1 --tensor-parallel-size 2", ("--gpus is 1",)),
        (f"{AWQ_14B} --vram-gib 16 --gpu-memory-utilization 85", ("utilization is 85.0", "0.85")),
        (f"{AWQ_14B} --vram-gib 16 --gpu-memory-utilization 0", ("utilization is 0.0", "such as 0.9")),
        (f"{AWQ_14B} --vram-gib 16 --max-model-len 65536", ("--max-model-len is 65536", "32768")),
        (f"{AWQ_14B} --vram-gib 16 --max-model-len 0", ("--max-model-len is 0", "from 1")),
        (f"{AWQ_14B} --vram-gib 16 --max-num-seqs -1", ("--max-num-seqs is -1", "from 1")),
        (f"{AWQ_14B} --vram-gib 16 --kv-cache-dtype int8", ("--kv-cache-dtype is 'int8'", "fp8")),
        (f"{AWQ_14B} --vram-gib 16 --quantization q4_K_M", ("'q4_K_M', a llama.cpp file type", "awq")),
        (f"{AWQ_14B} --vram-gib 16 --quantization int3", ("is 'int3'", "gptq-int4")),
        (f"{AWQ_14B} --vram-gib 16 --quantization gptq", ("--quantization is 'gptq'", "is awq")),
        ("--model Qwen/Qwen2.5-7B-Instruct --vram-gib 16 --quantization gptq", ("may be gptq-int4, gptq-int8",)),
        ("--model Qwen/Qwen2.5-7B --vram-gib 16", ("--max-model-len is missing",)),
        ("--calibrate logs.json", ("--calibrate is gone", "benchmarks/calibration.py")),
        ("--vllm-version 0.9", ("--vllm-version is gone: the fit is that of the pinned engine.",)),
        ("--vllm-version", ("--vllm-version is gone",)),
        ("--roster /bin/true", ("--roster is '/bin/true', which cannot be read",)),
    ],
)
def test_one_sentence_and_status_2_for_what_cannot_be_meant(capsys, line, parts):
    status, out, err = run(capsys, line)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err
    status, out, _ = run(capsys, f"--json {line}")
    answer = json.loads(out)
    assert (status, answer["ok"]) == (2, False)
    assert answer["errors"][0]["message"] == err.strip()


def test_without_a_checkout_the_missing_roster_is_one_clear_error(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "ROSTER", tmp_path / "group_vars/all/agents.yml")
    status, out, _ = run(capsys, f"--json --vram-gib 16 --roster {plan.ROSTER}")
    error = json.loads(out)["errors"][0]
    assert (status, error["code"], error["text"]) == (2, "roster_missing", "No roster is named.")


def test_without_pyyaml_both_ways_to_it_are_named(capsys, tmp_path, monkeypatch):
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
    status, out, _ = run(capsys, f"--vram-gib 40 --model {line}")
    assert status == 0
    assert f"({form})" in out


@pytest.mark.parametrize(
    ("name", "near_gib", "found"),
    [
        ("RTX 5060 Ti", None, "RTX 5060 Ti 16GB"),
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
        ("RTX 5060 Ti 8GB", None, None),
        ("Radeon", None, None),
    ],
)
def test_cards_by_the_names_that_people_and_drivers_use(name, near_gib, found):
    card = gpus.find(name, near_gib)
    assert (card.name if card else None) == found


def test_a_card_never_states_more_memory_than_its_box():
    for card in gpus.CARDS:
        assert card.cuda_gib is None or card.marketing_gb * 0.85 < card.cuda_gib <= card.marketing_gb
        assert card.source
