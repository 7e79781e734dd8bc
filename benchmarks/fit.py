#!/usr/bin/env python3
"""Compare the fit with a real vLLM on a real GPU. Run it with the engine's Python, which has tokenizers and pynvml.

    ENGINE/bin/python benchmarks/fit.py --vllm ENGINE/bin/vllm --into FOLDER [CASE ...]

Each case starts the engine like a plan with agents_runtime: native. The model has the exact shapes and random weights
(`--load-format dummy`), so nothing is downloaded. The share of the card is given in GiB, so that a large card can
simulate a smaller one. No compiled kernels are cached. The program writes the engine's memory figures of each case as a
list for `benchmarks/calibration.py FILE`.

When the engine is ready, max_num_seqs concurrent requests sample with top-k, top-p and penalties. The memory in use
beyond the engine's share is compared with the terms that the fit counts outside that share.

Exits 1 if an engine started that does not fit, or failed that fits, according to the fit. Exits 1 also if the memory
exceeded the stated uncertainty. Needs an NVIDIA GPU with its driver, vLLM's environment, and no network.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import calibration

from roundhouse.catalog import gpus, model_families
from roundhouse.plan import measured
from roundhouse.schema.roster import Served
from roundhouse.vllm import options as vllm_options

GIB = 1 << 30
PORT = 8199
START_SECONDS = 300
ANSWER_TOKENS = 256
SPECULATIVE_TOKENS = 4


class Case(NamedTuple):
    """One start: the plan's decisions, the engine's budget in GiB, and the speculative decoding."""

    model: str
    share_gib: float
    max_model_len: int
    kv_cache_dtype: str = "auto"
    max_num_seqs: int = 16
    max_num_batched_tokens: int = 2048
    enforce_eager: bool = False
    draft: str | None = None


# The shares are those of docs/reference/what-fits.md: gpu_memory_utilization of the roster x CUDA's total of the card.
CASES = {
    "architect-16gb": Case("Qwen/Qwen2.5-14B-Instruct-AWQ", 13.175, 24576, "fp8"),
    "dev-16gb": Case("Qwen/Qwen2.5-Coder-14B-Instruct-AWQ", 14.725, 32768, "fp8"),
    "po-16gb": Case("Qwen/Qwen2.5-7B-Instruct-AWQ", 10.85, 16384),
    "architect-24gb": Case("Qwen/Qwen2.5-14B-Instruct-AWQ", 19.992, 32768),
    "dev-24gb": Case("Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", 22.344, 20480, "fp8"),
    "po-24gb": Case("Qwen/Qwen2.5-7B-Instruct", 16.464, 16384),
    "architect-80gb": Case("Qwen/Qwen2.5-32B-Instruct", 67.303, 32768, "fp8"),
    "dev-80gb": Case("Qwen/Qwen2.5-Coder-32B-Instruct", 75.221, 32768),
    "tight": Case("Qwen/Qwen2.5-32B-Instruct-AWQ", 19.992, 8192, "fp8"),
    "many-requests": Case("Qwen/Qwen2.5-7B-Instruct-AWQ", 14.725, 16384, max_num_seqs=256),
    "many-tokens": Case("Qwen/Qwen2.5-7B-Instruct-AWQ", 14.725, 16384, max_num_seqs=256, max_num_batched_tokens=8192),
    "eager": Case("Qwen/Qwen2.5-7B-Instruct-AWQ", 10.85, 16384, enforce_eager=True),
    "qwen3": Case("Qwen/Qwen3-8B-AWQ", 13.175, 16384),
    "draft": Case("Qwen/Qwen2.5-3B-Instruct-AWQ", 10.85, 16384, draft="Qwen/Qwen2.5-0.5B-Instruct"),
    "ngram": Case("Qwen/Qwen2.5-7B-Instruct-AWQ", 13.175, 16384, draft="ngram"),
}
# The fields of config.json that state a checkpoint's format.
QUANTIZATION = {
    "bf16": {},
    "awq": {
        "torch_dtype": "float16",
        "quantization_config": {
            **{"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
        },
    },
}

TOKENS = ("bos_token", "eos_token", "unk_token")
# The fields of catalog.Architecture that config.json has too.
SHAPE = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("intermediate_size", "vocab_size", "tie_word_embeddings", "max_position_embeddings"),
)


def main() -> int:
    """Run, print and return the exit status."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--vllm", type=Path, default=Path("vllm"), help="the engine's program (default: the one in PATH)")
    made.add_argument("--into", type=Path, required=True, help="the folder of starts.json and of the engines' logs")
    made.add_argument("case", nargs="*", help=f"of {', '.join(CASES)} (default: all)")
    args = made.parse_args()
    if unknown := [name for name in args.case if name not in CASES]:
        made.error(f"there is no case {unknown[0]}: take of {', '.join(CASES)}.")
    args.into.mkdir(parents=True, exist_ok=True)
    card = Card()
    starts = args.into / "starts.json"
    seen: list[dict[str, Any]] = json.loads(starts.read_text()) if starts.exists() else []
    for name in args.case or CASES:
        found = observe(name, CASES[name], card, args.vllm, args.into / f"{name}.log")
        seen = [*(each for each in seen if each["id"] != name), found]
        aside = starts.with_suffix(".new")
        aside.write_text(json.dumps(seen, indent=1) + "\n")
        aside.rename(starts)
        print(f"{name}: {found['outcome']} after {found['start_seconds']} s", flush=True)
    print(calibration.report(starts))
    wrong = [sentence for each in seen for sentence in calibration.beyond(each)]
    print("\n".join(wrong or ["All of it lies within the stated uncertainty."]))
    return 1 if wrong else 0


def observe(name: str, case: Case, card: Card, vllm: Path, log: Path) -> dict[str, Any]:
    """Start the engine of a case, put it under load, stop it, and return an observation for calibration.py."""
    with tempfile.TemporaryDirectory() as folder:
        options = config(case, card, Path(folder))
        file = Path(folder, "engine.yaml")
        file.write_text(json.dumps(options))  # JSON is YAML
        before = card.wait_until_free()
        began = time.monotonic()
        command = [str(vllm), "serve", "--config", str(file), "--load-format", "dummy"]
        with engine(command, log, Path(folder)) as process:
            ready = wait_until_ready(process)
            start_seconds = time.monotonic() - began
            outcome, idle_gib, peak_gib, speed = "failed", None, None, None
            if ready:
                idle_gib = card.used_gib() - before
                try:
                    peak_gib, speed, outcome = load(case, card) - before, decode_speed(), "served"
                except OSError as error:
                    outcome = f"failed: under load ({error})"
    text = log.read_text(errors="replace")
    version = re.search(r"LLM engine \(v([^)]+)\)", text)
    stated = measured.parse(text.splitlines())
    tokens = stated.get("kv_tokens")
    return {
        "id": name,
        "model": case.model.partition("/")[2].removesuffix("-AWQ"),
        "quant": known(case.model).form.name,
        "kv_cache_dtype": case.kv_cache_dtype,
        "gpu": card.name,
        "capability": card.capability,
        "gpu_total_gib": stated.get("cuda_gib") or round(card.total_gib, 2),
        "tp": 1,
        "gpu_memory_utilization": options["gpu-memory-utilization"],
        "max_model_len": case.max_model_len,
        "max_num_seqs": case.max_num_seqs,
        "max_num_batched_tokens": case.max_num_batched_tokens,
        "enforce_eager": case.enforce_eager,
        "draft": case.draft if case.draft != "ngram" else None,
        "tries_kernels": False,  # vllm/options.py turns them off
        "vllm_version": version[1] if version else None,
        "weights_gib_per_rank": stated.get("weights_gib"),
        "activation_peak_gib": stated.get("activation_gib"),
        "cudagraph_actual_gib": stated.get("graphs_gib"),
        "kv_gib_per_rank": stated.get("kv_gib"),
        "kv_tokens": int(tokens) if tokens else None,
        "outcome": outcome,
        "note": "drafts from its prompt" if case.draft == "ngram" else None,
        "source": f"benchmarks/fit.py, random weights, driver {card.driver}",
        "start_seconds": round(start_seconds, 1),
        "card_idle_gib": round(idle_gib, 2) if idle_gib else None,
        "card_peak_gib": round(peak_gib, 2) if peak_gib else None,
        "decode_tokens_per_second": round(speed, 1) if speed else None,
    }


class Card:
    """The first GPU, as NVML reports it."""

    def __init__(self) -> None:
        import pynvml  # noqa: PLC0415 - only this benchmark needs it, on a host with a GPU

        self._nvml = pynvml
        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        self.name = str(pynvml.nvmlDeviceGetName(self._handle))
        self.driver = str(pynvml.nvmlSystemGetDriverVersion())
        self.capability = tuple(pynvml.nvmlDeviceGetCudaComputeCapability(self._handle))
        # Computed like in the plan from NVML's figure, because vLLM takes its share of CUDA's total.
        self.total_gib = float(self._memory().total) / GIB - gpus.DRIVER_KEEPS_GIB

    def used_gib(self) -> float:
        """Return the GPU memory in use by all processes, in GiB."""
        return float(self._memory().used) / GIB

    def wait_until_free(self) -> float:
        """Return the memory in use once it no longer falls, because a killed engine frees its memory late."""
        used = self.used_gib()
        for _ in range(30):
            time.sleep(1)
            used, before = self.used_gib(), used
            if used > before - 0.01 and used < 1:
                return used
        raise SystemExit(f"{used:.2f} GiB of the card are held by another process: stop it (nvidia-smi names it).")

    def _memory(self) -> Any:
        return self._nvml.nvmlDeviceGetMemoryInfo(self._handle)


def known(repo: str) -> model_families.Model:
    """Return the catalog's entry of a repository of CASES."""
    found = model_families.find(repo)
    if found is None or found.form.name not in QUANTIZATION:
        raise SystemExit(f"{repo} is none that this benchmark can imitate: take one in {' or '.join(QUANTIZATION)}.")
    return found


def config(case: Case, card: Card, folder: Path) -> dict[str, Any]:
    """Return the engine's options as vllm/options.py writes them; create the models' folders in `folder`."""
    agent: Served = {"name": "agent", "temperature": 0.1, "top_p": 0.95}
    draft = None
    if case.draft == "ngram":
        agent["speculative_config"] = {"method": "ngram", "num_speculative_tokens": SPECULATIVE_TOKENS}
    elif case.draft:
        draft = random_model(case.draft, folder / "draft")
        agent["speculative_config"] = {"method": "draft_model", "num_speculative_tokens": SPECULATIVE_TOKENS}
    decided: vllm_options.Limits = {
        "max_model_len": case.max_model_len,
        "gpu_memory_utilization": round(case.share_gib / card.total_gib, 4),
        "quantization": None,
        "max_num_seqs": case.max_num_seqs,
        "max_num_batched_tokens": case.max_num_batched_tokens,
        "kv_cache_dtype": case.kv_cache_dtype,
        "gpus": [0],
    }
    model = random_model(case.model, folder / "model")
    place = vllm_options.Place(
        accelerator="cuda",
        host="127.0.0.1",
        port=PORT,
        model_path=str(model),
        draft_path=str(draft) if draft else None,
        capability=card.capability,
    )
    return vllm_options.config(agent, decided, place, eager=case.enforce_eager)


def random_model(repo: str, folder: Path) -> Path:
    """Write a catalog model's config.json and a tokenizer with a few words, without weights."""
    from tokenizers import Tokenizer, models  # noqa: PLC0415 - the engine's own environment has it

    model = known(repo)
    shape = model.architecture
    kind = "Qwen3" if shape.qk_norm else "Qwen2"
    content = {
        "architectures": [f"{kind}ForCausalLM"],
        "model_type": kind.lower(),
        **{name: value for name, value in shape._asdict().items() if name in SHAPE},
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "torch_dtype": "bfloat16",
        **QUANTIZATION[model.form.name],
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(content))
    words = ["<s>", "</s>", "<unk>", *(f"w{number}" for number in range(1000))]
    Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token=words[2])).save(
        str(folder / "tokenizer.json")
    )
    told = {"tokenizer_class": "PreTrainedTokenizerFast", **dict(zip(TOKENS, words, strict=False))}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return folder


@contextlib.contextmanager
def engine(command: list[str], log: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run an engine with empty caches in its own process group, which is killed at the end."""
    environment = os.environ | vllm_options.environment("cuda", [0], START_SECONDS)
    environment |= vllm_options.caches(str(folder), "cuda")
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_ready(process: subprocess.Popen[bytes]) -> bool:
    """Return whether the engine answered within START_SECONDS, before it ended."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2):
            return True
        time.sleep(0.5)
    return False


def complete(prompt: list[int], tokens: int, **sampling: float) -> None:
    """Send a prompt of token ids and let the engine generate `tokens` tokens."""
    asked = {"model": "agent", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, **sampling}
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/v1/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 - http, above
        answer.read()


def load(case: Case, card: Card) -> float:
    """Return the peak of the card's memory in GiB while max_num_seqs concurrent requests sampled."""
    peak, done = card.used_gib(), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, card.used_gib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    sampling = {"temperature": 0.8, "top_p": 0.9, "top_k": 50, "presence_penalty": 0.5, "frequency_penalty": 0.5}
    length = max(8, case.max_num_batched_tokens // 16)
    prompts = [[3 + (7 * number + at) % 900 for at in range(length)] for number in range(case.max_num_seqs)]
    try:
        with concurrent.futures.ThreadPoolExecutor(case.max_num_seqs) as pool:
            for answer in [pool.submit(complete, prompt, 64, **sampling) for prompt in prompts]:
                answer.result()
    finally:
        done.set()
        watcher.join()
    return peak


def decode_speed() -> float:
    """Return the tokens per second of one sequence: the difference of a long and a short answer, without the prompt."""
    seconds = []
    for tokens in (16, 16 + ANSWER_TOKENS):
        began = time.monotonic()
        complete(list(range(3, 35)), tokens, temperature=0)
        seconds.append(time.monotonic() - began)
    return ANSWER_TOKENS / (seconds[1] - seconds[0])


if __name__ == "__main__":
    sys.exit(main())
