"""Turn an agent into vLLM's own options: the only place that knows their names.

The mapping is written as the file that `vllm serve --config FILE` reads. Two of vLLM's traps are
avoided here (vLLM 0.32, utils/argparse_utils.py): a false `enable-...` is dropped without a word,
so a switch is only written when it is on; a null becomes the string "None", so an unset option
is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from . import kernels as vllm_kernels
from .formats import Capability

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.plan import EngineConfig
    from roundhouse.schema.roster import Served, WantedAgent

# How long a stopping engine lets running requests finish. Without it a request in flight may be
# cut and still be answered with 200 (vLLM 0.32, seen with SIGTERM and SIGINT alike).
SHUTDOWN_TIMEOUT_SECONDS = 30
CPU_KV_CACHE_GIB = 1
# Kernels are fused side by side, as vLLM has it, without trying each fusion first, and are tuned when they first run.
# Trials, and tuning while compiling (which torch/_inductor/standalone_compile.py turns on), take random copies of a
# kernel's inputs, one of them the embedding table, while the engine measures its memory: a first start had up to
# 2.7 GiB less KV cache than the second (fit/overhead.py), and a 7B in 16 bits did not start at all
# (docs/explanation/fit.md). The fit counts on this.
COMPILE_WITHOUT_COPIES = {
    "combo_kernels": True,
    "benchmark_combo_kernel": False,
    "triton.autotune_at_compile_time": False,
}


class Place(NamedTuple):
    """Where an engine runs and what it finds there; `draft_path` is None without a draft model.

    `capability` is that of its oldest card, None without one or where it is not known. `kernels` says whether
    FlashInfer's are there, compiled (kernels.py).
    """

    accelerator: str
    host: str
    port: int
    model_path: str
    draft_path: str | None = None
    capability: Capability | None = None
    kernels: bool = False


class Limits(TypedDict):
    """What the plan decides of an engine, as in schema/plan.Decision."""

    max_model_len: int
    gpu_memory_utilization: float
    quantization: str | None
    kv_cache_dtype: str
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    gpus: list[int]


def config(agent: Served, decided: Limits, place: Place, *, eager: bool) -> EngineConfig:
    """Return vLLM's configuration of one agent, keys as in `vllm serve --help`. A None is left out."""
    options: EngineConfig = {
        "model": place.model_path,
        "served-model-name": agent["name"],
        "host": place.host,
        "port": place.port,
        "max-model-len": decided["max_model_len"],
        "gpu-memory-utilization": decided["gpu_memory_utilization"],
        "quantization": decided["quantization"],
        "dtype": vllm_kernels.dtype(decided["kv_cache_dtype"], place.capability),
        "attention-backend": vllm_kernels.backend(decided["kv_cache_dtype"], place.capability, kernels=place.kernels),
        "max-num-seqs": decided["max_num_seqs"],
        "max-num-batched-tokens": decided["max_num_batched_tokens"],
        # Sampling is the roster's and nothing else's: "vllm" ignores the model's own generation_config.json.
        "generation-config": "vllm",
        "override-generation-config": {"temperature": agent["temperature"], "top_p": agent["top_p"]},
        "shutdown-timeout": SHUTDOWN_TIMEOUT_SECONDS,
        # An unknown VLLM_* variable ends the start instead of being ignored.
        "fail-on-environ-validation": True,
        "disable-access-log-for-endpoints": "/health,/metrics",
    }
    options["enable-prefix-caching" if agent.get("enable_prefix_caching", True) else "no-enable-prefix-caching"] = True
    if decided["kv_cache_dtype"] != "auto":
        options["kv-cache-dtype"] = decided["kv_cache_dtype"]
    if len(decided["gpus"]) > 1:
        options["tensor-parallel-size"] = len(decided["gpus"])
    if eager:
        options["enforce-eager"] = True
    elif place.accelerator == "cuda":
        options["compilation-config"] = {"inductor_compile_config": COMPILE_WITHOUT_COPIES}
    if parser := agent.get("tool_call_parser"):
        options |= {"enable-auto-tool-choice": True, "tool-call-parser": parser}
    if speculative := agent.get("speculative_config"):
        # The folder is the revision.
        told = {name: value for name, value in speculative.items() if name != "revision"}
        options["speculative-config"] = told | ({"model": place.draft_path} if place.draft_path else {})
    return {name: value for name, value in options.items() if value is not None}


def is_eager(agent: WantedAgent, accelerator: str) -> bool:
    """Return whether an agent's engine compiles nothing, which on a CPU is so unless the roster says otherwise.

    What PyTorch compiles for a CPU wants a C++ compiler, which a host need not have and no role installs.
    """
    return agent.get("enforce_eager", accelerator == "cpu")


def environment(
    accelerator: str, gpus: list[int], start_seconds: int, *, kernels: bool = False, eager: bool = False
) -> dict[str, str]:
    """Return the engine's environment: offline, no telemetry, and which devices it may see.

    `start_seconds` is how long a start may take: vLLM gives up waiting for its own core after 600 s by itself. Without
    FlashInfer's `kernels` vLLM samples with its own: seen on an H100, FlashInfer's took 110 s to compile at a start.
    """
    variables = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": "/var/cache/roundhouse/vllm",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(start_seconds),
    }
    if accelerator == "cpu":
        # enforce-eager is about the model alone. vLLM compiles small functions beside it, and the first request that
        # wants log-probabilities (v1/sample/ops/logprobs.py) would end an engine without a compiler.
        compiling = {"TORCHDYNAMO_DISABLE": "1"} if eager else {}
        # Without it vllm/platforms/cpu.py gives one worker a process of its own, which imports vLLM a third time: in
        # the lab a start took 27 s instead of 20. With it the processes are those of an engine on one GPU. vLLM has
        # that worker process to bind OpenMP's threads, which made no difference to the tokens per second there.
        single = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        return variables | {"VLLM_CPU_KVCACHE_SPACE": str(CPU_KV_CACHE_GIB)} | single | compiling
    if not kernels:
        variables["VLLM_USE_FLASHINFER_SAMPLER"] = "0"
    return variables | {
        # PCI order is the order of nvidia-smi and NVML; CUDA's own default is fastest first.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(str(index) for index in gpus),
        "CUDA_CACHE_PATH": "/var/cache/roundhouse/cuda",
    }


class Bench(NamedTuple):
    """One load: `requests` prompts of random words, `parallel` at once, to the model `served` at `url`.

    The prompts follow from the `seed`: the same one for what is compared, another one for each load after it.
    """

    url: str
    served: str
    tokenizer: str
    input_tokens: int
    output_tokens: int
    parallel: int
    requests: int
    seed: int


def bench(asked: Bench, result: Path) -> list[str]:
    """Return the words of `vllm bench serve`, through the chat API, whose figures go into the file `result`.

    Each answer is as long as asked (ignore_eos). No two prompts of a seed begin alike, so no prefix is cached but that
    of the first, which the tool warms up with; the prompts of a seed that an engine had before are all cached.
    """
    told: dict[str, object] = {
        "backend": "openai-chat",
        "base-url": asked.url,
        "endpoint": "/v1/chat/completions",
        "model": asked.served,
        "tokenizer": asked.tokenizer,
        "dataset-name": "random",
        "random-input-len": asked.input_tokens,
        "random-output-len": asked.output_tokens,
        "num-prompts": asked.requests,
        "seed": asked.seed,
        "max-concurrency": asked.parallel,
        # The first request to an engine may compile kernels.
        "num-warmups": asked.parallel,
        "percentile-metrics": "ttft,tpot",
        # A connection each: a kept one may be closed by its server just when it is used again (llama.cpp, after 5 s).
        "header": "Connection=close",
        "result-dir": result.parent,
        "result-filename": result.name,
    }
    words = [word for name, value in told.items() for word in (f"--{name}", str(value))]
    return ["bench", "serve", *words, "--ignore-eos", "--save-result", "--save-detailed", "--disable-tqdm"]
