"""Provide the table of conversions: from the kind and name of an old setting to an outcome or to a rule."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ..roster import fields as roster_fields
from ..vllm import defaults
from . import cards, options, speculation
from .options import Rule
from .report import DEFAULT, DROPPED, UNSUPPORTED, Outcome, Setting, Source

_LLAMA_CPP = (
    "num_gpu main_gpu num_thread num_batch num_keep use_mmap use_mlock low_vram numa mirostat mirostat_eta "
    "mirostat_tau tfs_z penalize_newline num_gqa f16_kv vocab_only"
)
_DRIVER = "Roundhouse's roles set up the driver and the cards."
_HEALTH = (
    "A switch polls /health up to the plan's start timeout and then checks a real answer. A watchdog kills an engine "
    "that hangs, and its unit restarts it. Compose only marks a container as unhealthy and restarts nothing; 40 s are "
    "too short for a cold start."
)
_UNIT = "Each agent is a systemd unit: systemd restarts it after a crash, and a reboot starts the last active agent."
_LOGS = "Logs go to the journal: roundhouse logs AGENT."
_NO_SETTING = "vLLM has this option, the roster does not."
_PASSED = "Write it in engine_options: {{{option}: {value}}}."
_PREFIX_CACHING = "It is on by default in vLLM. It saves computing a prompt's beginning again, but no decoding."
_VARIABLE = (
    "The roster cannot set environment variables. Roundhouse does not pass it on, because vLLM refuses to start with "
    "an unknown VLLM_ variable."
)
INSTRUCTIONS = ("FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "ADAPTER", "LICENSE", "MESSAGE", "REQUIRES", "CAPABILITY")

# Keys are "KIND NAME...", where * matches any text. The kinds are those of Setting; "option" is a flag, or a variable
# named after one. A text is the reason; it may contain the setting's {name}, {value} and {length} in characters.
_RULES: dict[str, Rule] = {
    "option model": options.model,
    "option port": options.port,
    "option quantization": options.quantization,
    "option cuda-visible-devices nvidia-visible-devices": cards.visible,
    "option tensor-parallel-size": cards.tensor_parallel_size,
    "option gpu-memory-utilization device-memory-utilization": options.gpu_memory_utilization,
    "option max-model-len": options.max_model_len,
    "option temperature": options.of("temperature", float, f"{options.SAMPLING} Only 0 is greedy."),
    "option top-p": options.of("top_p", float, options.SAMPLING),
    "option override-generation-config": options.generation_config,
    "option enable-prefix-caching no-enable-prefix-caching": options.switch(
        "enable_prefix_caching", True, _PREFIX_CACHING, "Off, as in the source."
    ),
    "option max-num-seqs": options.of("max_num_seqs", int, "Requests that may run at once."),
    "option max-num-batched-tokens": options.of("max_num_batched_tokens", int, "Tokens per step."),
    "option enforce-eager no-enforce-eager": options.switch(
        "enforce_eager", False, "CUDA graphs are vLLM's default.", "No CUDA graphs: starts faster, answers slower."
    ),
    "option kv-cache-dtype": options.kv_cache_dtype,
    "option tool-call-parser": options.of("tool_call_parser", str, "The parser of tool calls."),
    "option use-spec-decode": speculation.use_spec_decode,
    "option spec-tree-size": speculation.spec_tree_size,
    "option speculative-config": speculation.speculative_config,
    "option speculative-model spec-model": speculation.speculative_model,
    "option spec-method": speculation.spec_method,
    "key ports": options.published_port,
    "key volumes": options.volume,
    "key device_ids": cards.visible,
    "key count": cards.device_count,
    "parameter temperature": options.of("temperature", float, options.SAMPLING),
    "parameter top_p": options.of("top_p", float, options.SAMPLING),
    "parameter num_ctx": options.max_model_len,
    "instruction from": lambda setting, source: source.model or Outcome(UNSUPPORTED, "FROM names no model."),
    "service OLLAMA_CONTEXT_LENGTH": options.max_model_len,
    "service OLLAMA_NUM_PARALLEL": options.of("max_num_seqs", int, "Parallel requests; vLLM runs them as one batch."),
    "service OLLAMA_KV_CACHE_TYPE": options.kv_cache_dtype,
}
_DEFAULT = {
    "option served-model-name": "The agent's name is its model name on the API, for all clients.",
    "option generation-config": "Only the roster sets the sampling.",
    "option enable-auto-tool-choice": "tool_call_parser enables it.",
    "option num-speculative-tokens spec-tokens ngram-prompt-lookup-*": "It is part of speculative_config.",
    "option dtype tokenizer chat-template": "The model's own is used.",
    "option download-dir": f"{options.STORE}.",
    "option enable-chunked-prefill": "It is on by default in vLLM.",
    "option disable-log-requests": "vLLM does not log requests by default.",
    "option shutdown-timeout": "Roundhouse sets it, so that running requests can finish.",
    "env NVIDIA_DRIVER_CAPABILITIES": "Roundhouse sets it for its containers.",
    "env CUDA_DEVICE_ORDER": "Roundhouse numbers cards by the PCI bus.",
    "env VLLM_NO_USAGE_STATS VLLM_CACHE_ROOT": "Roundhouse sets it for each engine.",
    "env HF_* TRANSFORMERS_*": "Engines run offline, from Roundhouse's own store of models.",
    "key image": f"Each agent runs vLLM {defaults.PINNED}'s image, pinned by digest (container_image).",
    "key restart": _UNIT,
    "key container_name": "The unit is roundhouse-NAME.service.",
    "key healthcheck": _HEALTH,
    "key runtime driver capabilities": _DRIVER,
    "key gpus": cards.CHOSEN,
    "key shm_size ipc ulimits": "Roundhouse's containers have enough of it; a native engine has the host's.",
    "key env_file": "Its variables are converted with this file.",
    "key profiles": "Agents that share a card run one at a time; `roundhouse AGENT` switches.",
    "key user": "The engines run as a separate system user.",
    "instruction template": "vLLM uses the chat template of the model's repository.",
    "instruction license requires capability": "It does not affect how the model runs.",
}
_DROPPED = {
    "option revision": "Write revision: {value} beside that model; models.lock pins the revisions of all models.",
    "option host api-key": "Agents listen on this host's loopback, without a key. For other hosts set gateway_listen "
    "and create keys with `roundhouse keys`.",
    "option trust-remote-code": "Roundhouse does not run a model's own code.",
    "option load-format": "Only safetensors: vLLM's core dropped GGUF (0.24) and bitsandbytes (0.28).",
    "option cpu-offload-gb": "Weights in the host's memory are read again for each token, so the plan avoids it.",
    "option pipeline-parallel-size data-parallel-size": "The plan splits a model by tensor parallelism: see gpus.",
    "option disable-log-stats uvicorn-log-level logging-level": _LOGS,
    "option enable-lora lora-modules hf-overrides block-size compilation-config": _NO_SETTING,
    "option reasoning-parser seed": _PASSED,
    "env HF_TOKEN HUGGINGFACE_TOKEN HUGGING_FACE_HUB_TOKEN": "The host's setting models_token reads HF_TOKEN at each "
    "run; a roster contains no secrets.",
    "env HF_ENDPOINT": "Set models_source in the inventory, for example to a mirror.",
    "env PYTORCH_CUDA_ALLOC_CONF": "The plan assumes PyTorch's defaults.",
    "env VLLM_ALLOW_LONG_MAX_MODEL_LEN": "The plan does not exceed the model's own limit.",
    "env VLLM_*": _VARIABLE,
    "env OLLAMA_*": "It is for Ollama; `roundhouse import ollama` converts its models.",
    "env *": "It is not a variable of the engine.",
    "flag *": "The roster has no such setting.",
    "key env_file-missing": "The file does not exist: put it beside this one, or its settings are lost.",
    "key environment-text": "It must be a list of NAME=VALUE or a mapping of NAME: VALUE.",
    "key ports-text volumes-text": "It must be a list.",
    "key logging": _LOGS,
    "key extends": "It is not resolved: run `docker compose config > one.yml` and import that file.",
    "key network_mode networks expose": "An engine listens on the host's loopback.",
    "key depends_on labels working_dir": "An agent's unit has no such setting.",
    "key limits": "The plan limits the card's memory; set limits of a unit with `systemctl edit`.",
    "key secrets": "Set the token for gated models as models_token, from the environment or a vault.",
    "key *": "The roster has no such setting.",
    "parameter num_predict": "Set max_tokens in the request.",
    "parameter repeat_penalty repeat_last_n": "Set repetition_penalty in the request; vLLM applies it to the whole "
    "text.",
    "parameter top_k min_p typical_p seed stop presence_penalty frequency_penalty": "Set {name} in the request.",
    "parameter draft_num_predict": "Use speculative_config in the roster.",
    "instruction system": "The client must send it as the first message, with role system ({length} characters).",
    "instruction message messages": "The client must send these messages before the question.",
    "instruction adapter": "The roster does not support adapters: merge it into the model and name the folder.",
    "instruction projector": "It is for images, which the plan does not compute.",
    "instruction unknown": f"It is not a Modelfile instruction; these are known: {', '.join(INSTRUCTIONS)}.",
    "service OLLAMA_MODELS": "Ollama's files are not changed; Roundhouse has its own store (models_store).",
    "service OLLAMA_HOST": "Each agent has its own port on loopback; Ollama keeps this one.",
}
_UNSUPPORTED = {
    "option swap-space use-v2-block-manager device max-seq-len-to-capture guided-decoding-backend": "vLLM removed this "
    "option.",
    "key build": f"The engine is vLLM {defaults.PINNED}, in an environment locked by hash.",
    "key version": "Compose has ignored it since version 2.",
    "key line": "The line is not an assignment.",
    f"parameter {_LLAMA_CPP}": "It is for llama.cpp, on which Ollama is based; vLLM has no equivalent.",
    "parameter *": "vLLM has no such parameter.",
    "instruction *": "vLLM has no equivalent.",
    "service OLLAMA_KEEP_ALIVE": "An agent stays loaded until a switch or `roundhouse stop`.",
    "service *": "It is specific to Ollama.",
}


def _constant(kind: str, why: str) -> Rule:
    def rule(setting: Setting, source: Source) -> Outcome:
        return Outcome(
            kind, why.format(name=setting.name, option=setting.option, value=setting.value, length=len(setting.value))
        )

    return rule


def _table() -> dict[str, Rule]:
    rules = _RULES.copy()
    for kind, reasons in ((DEFAULT, _DEFAULT), (DROPPED, _DROPPED), (UNSUPPORTED, _UNSUPPORTED)):
        rules |= {key: _constant(kind, why) for key, why in reasons.items()}
    return {f"{key.split()[0]} {name}": rule for key, rule in rules.items() for name in key.split()[1:]}


RULES = _table()


def outcome(setting: Setting, source: Source) -> Outcome:
    """Return the outcome of a setting by the longest matching key of the table."""
    kind = "option" if setting.kind in ("env", "flag") else setting.kind
    for name in (f"{kind} {setting.option}", f"{setting.kind} {setting.name}"):
        if keys := [key for key in RULES if fnmatchcase(name, key)]:
            return _checked(setting, source, RULES[max(keys, key=len)])
    raise AssertionError(name)  # each kind has a key with *


def _checked(setting: Setting, source: Source, rule: Rule) -> Outcome:
    """Return a rule's outcome, or DROPPED with the problem if the roster does not allow the value."""
    try:
        found = rule(setting, source)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return Outcome(DROPPED, f"The value is not valid for {setting.option}.")
    for field, value in found.fields.items():
        for problem in roster_fields.problems(field, field, value):
            return Outcome(DROPPED, problem)
    if setting.kind == "env" and setting.name.startswith("VLLM_") and found.fields.keys() - {"models", "port"}:
        why = f"{found.why} vLLM has no variable {setting.name}: it only warned and used its default."
        return found._replace(why=why)
    return found
