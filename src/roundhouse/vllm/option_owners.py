"""Provide the table of vLLM's options: which a roster may pass in `engine_options`, and why the others are refused.

Each option of serve_options.json is in exactly one row, and a test checks this. So a new vLLM adds no option to a
roster before it has a row.
"""

from __future__ import annotations

# The settings of the roster from which the plan computes an option.
_SETTINGS = {
    "model": "models",
    "served-model-name": "name",
    "port": "port",
    "max-model-len": "max_model_len",
    "gpu-memory-utilization device-memory-utilization": "gpu_memory_utilization",
    "kv-cache-memory-bytes num-gpu-blocks-override": "gpu_memory_utilization",
    "quantization quantization-config allow-deprecated-quantization": "models[].quantization",
    "revision code-revision tokenizer-revision": "models[].revision",
    "kv-cache-dtype kv-cache-dtype-skip-layers": "kv_cache_dtype",
    "tensor-parallel-size device-ids": "gpus",
    "max-num-seqs cudagraph-capture-sizes max-cudagraph-capture-size": "max_num_seqs",
    "max-num-batched-tokens enable-chunked-prefill performance-mode": "max_num_batched_tokens",
    "enforce-eager optimization-level compilation-config": "enforce_eager",
    "enable-prefix-caching": "enable_prefix_caching",
    "tool-call-parser enable-auto-tool-choice": "tool_call_parser",
    "speculative-config spec-method spec-model spec-tokens": "speculative_config",
    "override-generation-config": "temperature and top_p",
}
# Options that the fit computes (plan/requirements.py): their value changes the weights on the card.
COMPUTED = ("cpu-offload-gb", "language-model-only")
# Options that change neither the memory of the card, nor what others can reach or read.
_PASSED = {
    "Answers": "chat-template-content-format default-chat-template-kwargs response-role tool-strict-level "
    "exclude-tools-when-tool-choice-none reasoning-parser reasoning-config structured-outputs-config tokenizer-mode "
    "seed max-logprobs logprobs-mode stream-interval sse-keep-alive-interval cohere-format cohere-is-reasoning-model "
    "anthropic-disabled-thinking-effort enable-prompt-tokens-details enable-force-include-usage "
    "enable-per-request-metrics enable-request-id-headers fingerprint-mode fingerprint-value",
    "Log": "max-log-len enable-log-requests enable-log-outputs enable-log-deltas log-error-stack uvicorn-log-level "
    "disable-uvicorn-access-log aggregate-engine-logging enable-logging-iteration-details jit-monitor-mode "
    "jit-monitor-verbose use-tqdm-on-load",
    "Metrics": "enable-server-load-tracking show-hidden-metrics-for-version per-request-spec-decode-metrics "
    "kv-cache-metrics kv-cache-metrics-sample custom-histogram-buckets cudagraph-metrics enable-mfu-metrics "
    "enable-layerwise-nvtx-tracing",
    "HTTP server": "disable-fastapi-docs enable-offline-docs h11-max-incomplete-event-size h11-max-header-count",
    "Scheduler": "max-num-scheduled-tokens max-num-active-seqs max-num-queued-reqs max-num-queued-tokens "
    "scheduling-policy long-prefill-token-threshold long-prefill-token-threshold-adaptive scheduler-reserve-full-isl "
    "watermark prefill-schedule-interval async-scheduling disable-cascade-attn",
    "Kernels and cards": "moe-backend linear-backend sparse-indexer-topk-backend gdn-prefill-backend "
    "kda-prefill-backend kda-decode-backend mamba-backend mamba-ssu-algorithm enable-flashinfer-autotune "
    "disable-custom-all-reduce numa-bind numa-bind-nodes numa-bind-cpus distributed-timeout-seconds "
    "cpu-distributed-timeout-seconds",
    "Load": "safetensors-load-strategy safetensors-prefetch-num-threads safetensors-prefetch-block-size "
    "max-parallel-loading-workers",
}

_STARTS = "Roundhouse sets it, because its commands read the engine's log, metrics and end"
_LISTENS = "it opens a connection that the gateway does not guard, and an engine listens only on loopback"
_GUARDS = "the gateway has the keys, TLS and the checks of a request: set gateway_listen, and use `roundhouse keys`"
_CODE = "it runs code from outside vLLM, and Roundhouse runs only its own"
_REQUESTS = "it lets a request of any client load code, tensors, files or other hosts' data"
_FOLDER = "the model's folder has it: change the folder's own file, and name the folder in models"
_SPLIT = "the plan splits a model by tensor parallelism alone: write gpus"
_HOST = "it takes memory of the host or a second copy on the card, which the plan does not compute"
_CACHE = "it changes the size of the KV cache or of a sequence's state, which the plan computes without it"
_IMAGES = "it changes the memory of the image encoder, which the plan computes without it"
_ADAPTERS = "the roster has no adapters: merge the adapter into the model, and name the folder in models"
_OUTPUT = "it takes memory per request that the plan does not compute"
_POOLING = "agents answer chats and completions, and no other task"
# The other options, with the reason for which they are refused.
_REFUSED = {
    "host uds grpc grpc-port headless root-path master-addr master-port nnodes node-rank tool-server "
    "data-parallel-supervisor-port dp-supervisor-probe-interval-s dp-supervisor-probe-timeout-s "
    "dp-supervisor-probe-failure-threshold kv-transfer-config kv-events-config ec-transfer-config ec-manager-config "
    "weight-transfer-config otlp-traces-endpoint collect-detailed-traces enable-scale-out tokens-only "
    "enable-tokenizer-info-endpoint enable-elastic-ep elastic-ep-max-dp-size": _LISTENS,
    "api-key ssl-keyfile ssl-certfile ssl-ca-certs ssl-cert-reqs ssl-ciphers enable-ssl-refresh allow-credentials "
    "allowed-origins allowed-methods allowed-headers": _GUARDS,
    "watermark-config": "it has a secret key, and a plan contains no secrets",
    "hf-token": "an engine is offline and downloads nothing: set models_token for the role that downloads",
    "trust-remote-code middleware logits-processors tool-parser-plugin reasoning-parser-plugin io-processor-plugin "
    "scheduler-cls worker-cls worker-extension-cls model-class-overrides load-format model-loader-extra-config "
    "pt-load-map-location additional-config logging-config log-config-file ray-workers-use-nsight": _CODE,
    "trust-request-chat-template trust-request-mm-kwargs allowed-local-media-path allowed-media-domains "
    "enable-prompt-embeds enable-mm-embeds prefix-caching-hash-algo enable-trace-replay": _REQUESTS,
    "chat-template tokenizer hf-config-path hf-overrides config-format ignore-patterns download-dir": _FOLDER,
    "generation-config": "only the roster sets the sampling: write temperature, top_p and the other settings of a role",
    "dtype attention-backend attention-config kernel-config ir-op-priority": "the plan chooses it for the card and for "
    "kv_cache_dtype",
    "shutdown-timeout fail-on-environ-validation disable-access-log-for-endpoints disable-log-stats log-level "
    "api-server-count skip-tokenizer-init return-tokens-as-token-ids profiler-config enable-fault-tolerance "
    "fault-tolerance-config": _STARTS,
    "pipeline-parallel-size distributed-executor-backend data-parallel-size data-parallel-rank "
    "data-parallel-start-rank data-parallel-size-local data-parallel-address data-parallel-rpc-port "
    "data-parallel-backend "
    "data-parallel-hybrid-lb data-parallel-external-lb data-parallel-multi-port-external-lb dp-sync-interval "
    "disable-nccl-for-dp-synchronization decode-context-parallel-size dcp-comm-backend dcp-q-replicate "
    "dcp-kv-cache-interleave-size cp-kv-cache-interleave-size prefill-context-parallel-size enable-expert-parallel "
    "enable-ep-weight-filter all2all-backend enable-eplb eplb-config expert-placement-strategy enable-hc-sp "
    "enable-batch-sharded-sampling enable-dbo ubatch-size dbo-decode-token-threshold "
    "dbo-prefill-token-threshold": _SPLIT,
    "enable-sleep-mode sleep-mode-offload-cudagraph sleep-preserve-parameter-names enable-cumem-allocator "
    "enable-nccl-comm-suspend kv-offloading-size kv-offloading-backend offload-backend cpu-offload-params "
    "offload-group-size offload-num-in-group offload-prefetch-step offload-params enable-shm-tensor-arena "
    "renderer-num-workers model-impl use-fp64-gumbel engram-config diffusion-config": _HOST,
    "block-size prefix-cache-retention-interval prefix-match-unit kv-sharing-fast-prefill swa-bounded-replay "
    "disable-sliding-window disable-hybrid-kv-cache-manager mamba-cache-dtype mamba-ssm-cache-dtype mamba-block-size "
    "mamba-cache-mode enable-mamba-shared-prefix-checkpoint enable-mamba-cache-stochastic-rounding "
    "mamba-cache-philox-rounds replayssm-buffer-len use-replayssm": _CACHE,
    "limit-mm-per-prompt media-io-kwargs mm-processor-kwargs mm-processor-cache-gb mm-processor-cache-type "
    "mm-hasher-algorithm mm-shm-cache-max-object-size-mb mm-encoder-only mm-encoder-tp-mode mm-encoder-attn-backend "
    "mm-encoder-attn-dtype mm-encoder-fp8-scale-path mm-encoder-fp8-scale-save-path mm-encoder-fp8-scale-save-margin "
    "interleave-mm-strings skip-mm-profiling video-pruning-rate video-pruning-method mm-tensor-ipc "
    "mm-processor-device mm-ipc-gpu-memory-gb mm-device-do-normalize disable-chunked-mm-input": _IMAGES,
    "enable-lora lora-modules max-loras max-lora-rank lora-dtype max-cpu-loras fully-sharded-loras lora-target-modules "
    "default-mm-loras specialize-active-lora enable-mixed-moe-lora-format enable-moe-shared-loras "
    "max-lora-cls-labels enable-tower-connector-lora": _ADAPTERS,
    "return-sampling-mask enable-return-routed-experts aux-output-config": _OUTPUT,
    "runner convert pooler-config enable-flash-late-interaction": _POOLING,
}
# Keys within a passed option that belong to a refused one.
REFUSED_KEYS = ("reasoning_parser_plugin",)
# Options whose value is a secret, which no message prints.
SECRET = ("api-key", "hf-token", "watermark-config")


def _split(table: dict[str, str]) -> dict[str, str]:
    return {name: why for names, why in table.items() for name in names.split()}


SETTINGS = _split(_SETTINGS)
REFUSED = _split(_REFUSED)
PASSED = {name: subject for subject, names in _PASSED.items() for name in names.split()}
