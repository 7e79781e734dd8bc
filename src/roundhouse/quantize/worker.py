"""Quantize a model with llm-compressor, on the Python of its environment.

    python -m roundhouse.quantize.worker JOB      JOB: a JSON file, see `Job`

The program writes the quantized model into the job's folder and its current stage to stdout. It writes the packages'
versions as JSON to `versions.json` beside the folder. The quality gate (quality.py) checks the result.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

from ..models.manifest import NAME, WANTED

PACKAGES = ("llmcompressor", "compressed-tensors", "torch", "transformers", "auto-round")
# The output layer is not quantized: it selects the token, and it is a small part of the bytes.
IGNORE = ["lm_head"]
# auto-round's recipe "light". Its default rate, 1 / iterations, is for 200 iterations.
ITERATIONS, LEARNING_RATE = 50, 5e-3


class Job(TypedDict):
    """The job of the worker (quantize/run.job). The last five keys identify the result; the worker ignores them."""

    base: str  # a folder
    folder: str  # of the result
    method: str
    scheme: str  # a preset of compressed-tensors
    group_size: int  # 0: the preset's
    texts: list[str]  # for calibration; []: none
    max_tokens: int  # per text
    seed: int
    path: str
    revision: str | None
    stamp: str | None  # of the base, which may change before a run is resumed
    form: str
    environment: str  # which may also change before a run is resumed


def modifiers(method: str, scheme: str, group_size: int) -> list[object]:
    """Return llm-compressor's modifiers for a recipe."""
    quantization = importlib.import_module("llmcompressor.modifiers.quantization")
    how = {"config_groups": {"group_0": _scheme(scheme, group_size)}, "ignore": IGNORE}
    if method == "rtn":
        return [quantization.QuantizationModifier(**how)]
    if method == "gptq":
        return [quantization.GPTQModifier(**how)]
    if method == "smooth-gptq":
        smooth = importlib.import_module("llmcompressor.modifiers.transform.smoothquant")
        return [smooth.SmoothQuantModifier(smoothing_strength=0.8), quantization.GPTQModifier(**how)]
    if method == "awq":
        awq = importlib.import_module("llmcompressor.modifiers.transform.awq")
        return [awq.AWQModifier(duo_scaling="both"), quantization.QuantizationModifier(**how)]
    rounding = importlib.import_module("llmcompressor.modifiers.autoround")
    return [rounding.AutoRoundModifier(**how, iters=ITERATIONS, lr=LEARNING_RATE, enable_torch_compile=False)]


def _scheme(scheme: str, group_size: int) -> object:
    """Return compressed-tensors' preset with the given group size; 0 keeps the preset's."""
    presets = importlib.import_module("compressed_tensors.quantization")
    found = presets.preset_name_to_scheme(scheme, ["Linear"])
    if group_size:
        found.weights.group_size = group_size
    return found


def main(argv: list[str] | None = None) -> int:
    """Quantize the model of the job and return 0."""
    job: Job = json.loads(Path((sys.argv[1:] if argv is None else argv)[0]).read_text())
    torch = importlib.import_module("torch")
    transformers = importlib.import_module("transformers")
    torch.manual_seed(job["seed"])
    _without_an_accelerator(torch)
    say("loading the model")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        job["base"], dtype="auto", trust_remote_code=False, local_files_only=True
    )
    recipe = modifiers(job["method"], job["scheme"], job["group_size"])
    how: dict[str, object] = {"output_dir": job["folder"], "recipe": recipe}
    if job["texts"]:
        say(f"calibrating with {len(job['texts'])} texts")
        tokenizer = _tokenizer(transformers, Path(job["base"]))
        rows = [tokenizer(text, add_special_tokens=False)["input_ids"][: job["max_tokens"]] for text in job["texts"]]
        how |= _calibration(windows(rows) if job["method"] == "auto-round" else rows, job["max_tokens"])
    importlib.import_module("llmcompressor").oneshot(model=model, **how)
    _copy_what_is_not_weights(Path(job["base"]), Path(job["folder"]))
    versions = {package: version(package) for package in PACKAGES}
    (Path(job["folder"]).parent / "versions.json").write_text(json.dumps(versions))
    say("wrote the quantized model")
    return 0


def _tokenizer(transformers: ModuleType, base: Path) -> Any:
    """Return the base's tokenizer from its own file, because AutoTokenizer's version may split text differently."""
    if (base / "tokenizer.json").exists():
        return transformers.PreTrainedTokenizerFast(tokenizer_file=str(base / "tokenizer.json"))
    return transformers.AutoTokenizer.from_pretrained(base, local_files_only=True)


def _copy_what_is_not_weights(base: Path, folder: Path) -> None:
    """Copy the base's tokenizer and templates unchanged, because saving them again changes the files."""
    for path in base.iterdir():
        weights = path.name == "config.json" or ".safetensors" in path.name
        if any(path.match(pattern) for pattern in WANTED) and not weights and path.name != NAME:
            shutil.copyfile(path, folder / path.name)


def windows(rows: list[list[int]]) -> list[list[int]]:
    """Return the tokens of all rows, in order, as rows of the mean length. The remainder is dropped.

    auto-round 0.15 uses the positions of a batch's first sequence for the whole batch, and llm-compressor pads them
    with zeros. A longer sequence loses its positions (auto_round: BlockForwardRunner._select_batch).
    """
    tokens = [token for row in rows for token in row]
    length = max(1, len(tokens) // len(rows))
    return [tokens[start : start + length] for start in range(0, len(tokens) - length + 1, length)]


def _calibration(rows: list[list[int]], max_tokens: int) -> dict[str, object]:
    dataset = importlib.import_module("datasets").Dataset.from_list(
        [{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows]
    )
    return {
        "dataset": dataset,
        "max_seq_length": max_tokens,
        "num_calibration_samples": len(rows),
        "shuffle_calibration_samples": False,  # the same order of texts gives the same result
    }


def _without_an_accelerator(torch: ModuleType) -> None:
    """Let AWQ run on a CPU: llm-compressor 0.14 always pins its cache's memory (awq/base.py, line 507)."""
    if not torch.accelerator.is_available():
        cache = importlib.import_module("llmcompressor.pipelines.cache").IntermediatesCache
        cache.pin_memory = lambda self, *arguments, **how: None


def say(text: str) -> None:
    """Print a stage as one line."""
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
