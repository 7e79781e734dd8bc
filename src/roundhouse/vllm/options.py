"""Convert an agent's settings into vLLM's options. No other module contains their names.

The mapping is the content of the file that `vllm serve --config FILE` reads. The module avoids two
pitfalls of vLLM 0.32 (utils/argparse_utils.py). vLLM ignores a false `enable-...` silently, so a flag
is written only if it is true. vLLM reads a null as the string "None", so an unset option is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from . import engine_options
from . import kernels as vllm_kernels
from .formats import Capability

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.plan import EngineConfig
    from roundhouse.schema.roster import Served, WantedAgent

# Time that a stopping engine gives running requests to finish. Without it vLLM 0.32 may cut a request
# and still answer it with 200 (seen with both SIGTERM and SIGINT).
SHUTDOWN_TIMEOUT_SECONDS = 30
CPU_KV_CACHE_GIB = 1
# How long an engine keeps an idle connection. The gateway reuses connections, and a request on one that the engine
# closes at that moment is lost. HAProxy closes idle ones within a minute, so the engine must not be first; vLLM's
# default is 5 s.
KEEP_ALIVE_SECONDS = 3600
# vLLM fetches an image from any URL of a request, also from loopback. No list means any domain, so the list has one
# that does not exist (RFC 6761). Images in the request itself, as data: URLs, need no domain.
NO_DOMAIN = "no-domain.invalid"
# Keeps vLLM's fusion of kernels (combo kernels), but disables the trial run of each fusion. Also disables tuning at
# compile time (torch/_inductor/standalone_compile.py enables it); kernels are tuned at their first run. Trials and
# tuning allocate random copies of a kernel's inputs, such as the embedding table, while the engine measures its memory.
# The first start had up to 2.7 GiB less KV cache than the second (fit/overhead.py). A 7B in 16 bits failed to start
# (docs/explanation/fit.md). The fit relies on these settings.
COMPILE_WITHOUT_COPIES = {
    "combo_kernels": True,
    "benchmark_combo_kernel": False,
    "triton.autotune_at_compile_time": False,
}


class Place(NamedTuple):
    """The host-specific values of an engine; `draft_path` is None without a draft model.

    `capability` is that of the engine's oldest card, None without a card or if unknown. `kernels` is true if
    FlashInfer's compiled kernels are installed (kernels.py). `middleware` is the import path of the class that adds the
    role's defaults to requests; without it the engine itself has the sampling.
    """

    accelerator: str
    host: str
    port: int
    model_path: str
    draft_path: str | None = None
    capability: Capability | None = None
    kernels: bool = False
    middleware: str | None = None


class Limits(TypedDict):
    """The limits that the plan sets for an engine, as in schema/plan.Decision."""

    max_model_len: int
    gpu_memory_utilization: float
    quantization: str | None
    kv_cache_dtype: str
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    gpus: list[int]


def config(agent: Served, decided: Limits, place: Place, *, eager: bool) -> EngineConfig:
    """Return vLLM's configuration of one agent, with the option names of `vllm serve --help`; unset ones are absent."""
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
        # Only the roster sets the sampling: "vllm" ignores the model's own generation_config.json.
        "generation-config": "vllm",
        "shutdown-timeout": SHUTDOWN_TIMEOUT_SECONDS,
        # vLLM refuses to start with an unknown VLLM_* variable instead of ignoring it.
        "fail-on-environ-validation": True,
        "disable-access-log-for-endpoints": "/health,/metrics",
        "allowed-media-domains": [NO_DOMAIN],
    }
    if place.middleware:
        options["middleware"] = place.middleware
    else:
        options["override-generation-config"] = {"temperature": agent["temperature"], "top_p": agent["top_p"]}
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
        # The draft is loaded from a local folder of that revision, so vLLM needs no revision.
        settings = {name: value for name, value in speculative.items() if name != "revision"}
        options["speculative-config"] = settings | ({"model": place.draft_path} if place.draft_path else {})
    options |= engine_options.as_config(agent.get("engine_options", {}))
    return {name: value for name, value in options.items() if value is not None}


def is_eager(agent: WantedAgent, accelerator: str) -> bool:
    """Return true if the agent's engine compiles nothing: the roster's value, else true on a CPU.

    PyTorch needs a C++ compiler to compile for a CPU. A host may lack one, and no role installs it.
    """
    return agent.get("enforce_eager", accelerator == "cpu")


def caches(folder: str, accelerator: str) -> dict[str, str]:
    """Return the environment variables that place an engine's caches in a folder."""
    cuda = {"CUDA_CACHE_PATH": f"{folder}/cuda"} if accelerator == "cuda" else {}
    return {"VLLM_CACHE_ROOT": f"{folder}/vllm"} | cuda


def environment(
    accelerator: str, gpus: Sequence[int | str], start_seconds: int, *, kernels: bool = False, eager: bool = False
) -> dict[str, str]:
    """Return the engine's environment variables: offline mode, no telemetry and visible devices.

    `gpus` are UUIDs, or numbers while these are unknown; vLLM finds only a complete UUID. `start_seconds` is the time
    limit of a start; vLLM's own default for its engine core is 600 s. Without FlashInfer's `kernels` vLLM uses its own
    sampler: on an H100, compiling FlashInfer's took 110 s at a start.
    """
    variables = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(start_seconds),
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_SECONDS),
    }
    if accelerator == "cpu":
        # enforce-eager affects the model only. vLLM also compiles small functions: without a compiler, the first
        # request for log-probabilities (v1/sample/ops/logprobs.py) would stop the engine.
        compiling = {"TORCHDYNAMO_DISABLE": "1"} if eager else {}
        # Without this, vllm/platforms/cpu.py starts a separate process for the single worker, which imports vLLM a
        # third time. In the lab a start took 27 s instead of 20. With it the processes equal those of an engine on one
        # GPU. The worker process binds OpenMP's threads, which did not change the tokens per second in the lab.
        single = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        return variables | {"VLLM_CPU_KVCACHE_SPACE": str(CPU_KV_CACHE_GIB)} | single | compiling
    if not kernels:
        variables["VLLM_USE_FLASHINFER_SAMPLER"] = "0"
    return variables | {
        # nvidia-smi and NVML use PCI order; CUDA's default order is fastest first.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(str(index) for index in gpus),
    }


class Bench(NamedTuple):
    """One load test: `requests` prompts of random tokens, `parallel` at once, to the model `served` at `url`.

    The `seed` determines the prompts: use the same seed for runs that are compared, and a new one for each later run.
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
    """Return the arguments of `vllm bench serve` over the chat API; it writes its results into the file `result`.

    Each answer has exactly `output_tokens` tokens (ignore_eos). The prompts of one seed have different beginnings, so
    the prefix cache holds only the first prompt, which is used for warm-up. An engine that had the seed before has all
    of its prompts cached.
    """
    options: dict[str, object] = {
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
        # One connection per request: a server may close an idle one just when it is reused (llama.cpp, after 5 s).
        "header": "Connection=close",
        "result-dir": result.parent,
        "result-filename": result.name,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return ["bench", "serve", *words, "--ignore-eos", "--save-result", "--save-detailed", "--disable-tqdm"]
