"""The part of `roundhouse quantize` that needs llm-compressor: runs on the Python of its environment.

    python -m roundhouse.quantize.worker JOB      JOB: a JSON file, see `Job`

Writes the quantized model into the job's folder, its stage to stdout, and the versions that made it as JSON to
`versions.json` beside it. Whether the result is good is decided elsewhere (quality.py).
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
# The head stays as it is: a word is chosen by it, and it is a small part of the bytes.
IGNORE = ["lm_head"]
# auto-round's own recipe "light": its default rate, 1 / iterations, is meant for 200 of them.
ITERATIONS, LEARNING_RATE = 50, 5e-3


class Job(TypedDict):
    """What is quantized and how (quantize/run.job); the last five identify the result and are not read here."""

    base: str  # a folder
    folder: str  # of the result
    method: str
    scheme: str  # a preset of compressed-tensors
    group_size: int  # 0: the preset's
    texts: list[str]  # to calibrate with; []: none
    max_tokens: int  # of a text
    seed: int
    path: str
    revision: str | None
    stamp: str | None  # of the base, which may be another one under its name by the time a run goes on
    form: str
    environment: str  # what quantizes may be another too


def modifiers(method: str, scheme: str, group_size: int) -> list[object]:
    """Return llm-compressor's modifiers of a recipe."""
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
    """Return compressed-tensors' preset, with the group size that the model's sizes allow."""
    presets = importlib.import_module("compressed_tensors.quantization")
    found = presets.preset_name_to_scheme(scheme, ["Linear"])
    if group_size:
        found.weights.group_size = group_size
    return found


def main(argv: list[str] | None = None) -> int:
    """Do the job and return 0."""
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
    say("written")
    return 0


def _tokenizer(transformers: ModuleType, base: Path) -> Any:
    """Return the base's tokenizer as its file says: what AutoTokenizer makes of it may split text in another way."""
    if (base / "tokenizer.json").exists():
        return transformers.PreTrainedTokenizerFast(tokenizer_file=str(base / "tokenizer.json"))
    return transformers.AutoTokenizer.from_pretrained(base, local_files_only=True)


def _copy_what_is_not_weights(base: Path, folder: Path) -> None:
    """Copy the base's tokenizer and templates as they are: saved again, their files come out different."""
    for path in base.iterdir():
        weights = path.name == "config.json" or ".safetensors" in path.name
        if any(path.match(pattern) for pattern in WANTED) and not weights and path.name != NAME:
            shutil.copyfile(path, folder / path.name)


def windows(rows: list[list[int]]) -> list[list[int]]:
    """Return the tokens of the rows, in their order, as rows of one length: the mean. What is left over is dropped.

    auto-round 0.15 takes the positions of a batch's first sequence for all of it, and llm-compressor pads them with
    zeros: a longer sequence of the batch loses its positions. (auto_round: BlockForwardRunner._select_batch)
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
        "shuffle_calibration_samples": False,  # the same texts in the same order, for the same result
    }


def _without_an_accelerator(torch: ModuleType) -> None:
    """Let AWQ run on a CPU: llm-compressor 0.14 pins its cache's memory without asking (awq/base.py, line 507)."""
    if not torch.accelerator.is_available():
        cache = importlib.import_module("llmcompressor.pipelines.cache").IntermediatesCache
        cache.pin_memory = lambda self, *arguments, **how: None


def say(text: str) -> None:
    """Say a stage in one line."""
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
