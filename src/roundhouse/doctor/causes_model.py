"""Provide the causes in the model, its memory, its download or a request. causes.py puts them in order."""

from __future__ import annotations

from .cause import PLAN_AGAIN, row

CAUSES = (
    row(
        "memory_held",
        r"Free memory on device .*less than desired",
        "Another process holds GPU memory that the engine needs.",
        "Find it with `roundhouse gpu`. Stop a service; close a desktop's applications. Then run `roundhouse {name}`.",
        errors=("memory_held", "memory_not_freed"),
    ),
    row(
        "kv_cache_too_small",
        r"No available memory for the cache blocks",
        "The weights leave no memory for the KV cache.",
        f"Raise gpu_memory_utilization or set a smaller model in the roster, then run `{PLAN_AGAIN}`.",
    ),
    row(
        "context_too_long_for_card",
        r"To serve at least one request with the model's max seq len",
        "The KV cache does not hold one request of max_model_len tokens.",
        f"Lower max_model_len (or max_model_len_min, the plan's lower limit) in the roster, then run `{PLAN_AGAIN}`.",
    ),
    row(
        "context_too_long_for_model",
        r"greater than the derived max_model_len",
        "max_model_len is above the limit of the model.",
        "Lower max_model_len of {name} in the roster to the value in that line, then run `ansible-playbook site.yml`.",
    ),
    row(
        "out_of_memory",
        r"OutOfMemoryError|CUDA out of memory|not enough GPU memory",
        "The GPU's memory did not hold the model and its work space.",
        "Check `roundhouse gpu` for other processes on the GPU. If there are none, run "
        f"`{PLAN_AGAIN}`, which plans with the measured values.",
    ),
    row(
        "wrong_format",
        r"Unknown quantization method|[Qq]uantization method specified .* does not match",
        "This engine does not load the model's format, or the roster has another format.",
        "Set the model's own quantization in the roster (awq, gptq, fp8, none), then run `ansible-playbook site.yml`.",
    ),
    row(
        "format_not_for_cpu",
        r"'_C' object has no attribute 'cpu_gemm_wna16'",
        "The engine computes 4-bit weights only on a CPU with AVX-512, which this CPU lacks.",
        "Set a model in 16 bits, fp8 or int8 for {name} in the roster, then run `ansible-playbook site.yml`.",
    ),
    row(
        "model_damaged",
        r"SafetensorError|incomplete metadata, file not fully covered|HeaderTooLarge",
        "A file of the model is truncated or damaged.",
        "Run `roundhouse verify`, then `roundhouse pull`, which downloads only the damaged files again.",
    ),
    row(
        "model_unknown_to_engine",
        r"Model architectures .* are not supported|does not recognize this architecture",
        "This engine's version does not know the model's architecture.",
        "Set a model of a family in docs/reference/families.md for {name}, then run `ansible-playbook site.yml`.",
    ),
    row(
        "model_not_there",
        r"Repo id must be in the form|LocalEntryNotFoundError|outgoing traffic has been disabled",
        "The model is not on this host, and an engine downloads nothing.",
        "Run `ansible-playbook site.yml --tags models`, which downloads it.",
    ),
)
# Lines that also appear in logs of engines that ended for another reason: read after all other rows.
LAST = (
    row(
        "model_locked",
        r"GatedRepoError|401 Client Error|403 Client Error",
        "The hub requires an account that accepted the model's licence.",
        "Accept the licence on the hub and set models_token (in a vault) to its token, or set an open model.",
        errors=("model_gated", "hub_token_invalid", "hub_access_denied"),
    ),
    row(
        "download_failed",
        r"Max retries exceeded|IncompleteRead|ReadTimeout|Temporary failure in name resolution|ConnectionResetError",
        "The download failed, or the hub was not reachable.",
        "Run `ansible-playbook site.yml --tags models` again, which resumes the download. Behind a proxy, set "
        "host_proxy_url.",
        errors=(
            "download_failed",
            "hub_unreachable",
            "hub_request_failed",
            "hub_listing_endless",
            "hub_unexpected_response",
            "pull_failed",
            "checksum_mismatch",
        ),
    ),
    row(
        "request_too_long",
        r"maximum context length is \d+ tokens",
        "A client sent more tokens than max_model_len.",
        "Shorten the request, or raise max_model_len of {name} in the roster and run `ansible-playbook site.yml`.",
    ),
)
