"""What each setting of an old set-up becomes: one table, from a kind and names to an outcome or to what finds it."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ..roster import fields as roster_fields
from ..vllm import defaults
from . import cards, options, speculation
from .options import Rule
from .report import ALREADY, LEFT, NOTHING, Outcome, Setting, Source

_LLAMA_CPP = (
    "num_gpu main_gpu num_thread num_batch num_keep use_mmap use_mlock low_vram numa mirostat mirostat_eta "
    "mirostat_tau tfs_z penalize_newline num_gqa f16_kv vocab_only"
)
_DRIVER = "The driver and the cards are the roles' to see to."
_HEALTH = (
    "A switch asks /health itself, for as long as the plan lets a start take, and then for a real answer; a watchdog "
    "ends an engine that hangs, and its unit starts it again. Compose only marks a container as unhealthy and restarts "
    "nothing; 40 s are too few for a cold start."
)
_UNIT = "Each agent is a systemd unit: it is restarted when it ends, and a reboot starts the last active agent."
_LOGS = "Logs go to the journal: roundhouse logs AGENT."
_NO_SETTING = "vLLM has it and a roster does not."
_PREFIX_CACHING = "vLLM has it on by default. It saves reading a prompt's beginning again, no decoding."
_VARIABLE = (
    "A roster has no word for it, whether vLLM has such a variable or not. Roundhouse sets none of its own accord, and "
    "vLLM ends a start with one that it does not know."
)
INSTRUCTIONS = ("FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "ADAPTER", "LICENSE", "MESSAGE", "REQUIRES", "CAPABILITY")

# Keys are "KIND NAME...", * for any text. The kinds are the settings', and option is a flag or a variable named after
# one. A text is the reason of a fate; it may have the setting's {name}, {value} and {length} in characters.
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
        "enable_prefix_caching", True, _PREFIX_CACHING, "Off, as it was said."
    ),
    "option max-num-seqs": options.of("max_num_seqs", int, "Requests that may run at once."),
    "option max-num-batched-tokens": options.of("max_num_batched_tokens", int, "Tokens of a step."),
    "option enforce-eager no-enforce-eager": options.switch(
        "enforce_eager", False, "CUDA graphs are vLLM's default.", "No CUDA graphs: starts faster, answers slower."
    ),
    "option kv-cache-dtype": options.kv_cache_dtype,
    "option tool-call-parser": options.of("tool_call_parser", str, "How tool calls are read."),
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
    "instruction from": lambda setting, source: source.model or Outcome(NOTHING, "It names no model."),
    "service OLLAMA_CONTEXT_LENGTH": options.max_model_len,
    "service OLLAMA_NUM_PARALLEL": options.of("max_num_seqs", int, "Requests at once; vLLM takes them into one batch."),
    "service OLLAMA_KV_CACHE_TYPE": options.kv_cache_dtype,
}
_ALREADY = {
    "option served-model-name": "The agent's name is its model name on the API, for all clients.",
    "option generation-config": "Sampling is the roster's and nothing else's.",
    "option enable-auto-tool-choice": "It goes with tool_call_parser.",
    "option num-speculative-tokens spec-tokens ngram-prompt-lookup-*": "It is a part of speculative_config.",
    "option dtype tokenizer chat-template": "The model's own is taken.",
    "option download-dir": f"{options.STORE}.",
    "option enable-chunked-prefill": "vLLM has it on by default.",
    "option disable-log-requests": "vLLM does not log requests unless it is asked to.",
    "option shutdown-timeout": "Roundhouse sets it, so that running requests may end.",
    "env NVIDIA_DRIVER_CAPABILITIES": "It is the container's.",
    "env CUDA_DEVICE_ORDER": "Cards are counted by the PCI bus.",
    "env VLLM_NO_USAGE_STATS VLLM_CACHE_ROOT": "Roundhouse sets it for each engine.",
    "env HF_* TRANSFORMERS_*": "Engines run offline, from Roundhouse's own store of models.",
    "key image": f"Each agent has a container of vLLM {defaults.PINNED}'s image, by its digest (container_image).",
    "key restart": _UNIT,
    "key container_name": "The unit is roundhouse-NAME.service.",
    "key healthcheck": _HEALTH,
    "key runtime driver capabilities": _DRIVER,
    "key gpus": cards.CHOSEN,
    "key shm_size ipc ulimits": "Its container has enough of it, and an engine without one has the host's.",
    "key env_file": "Its variables are read with this file.",
    "key profiles": "Agents that share a card run one at a time anyway: roundhouse AGENT switches.",
    "key user": "The engines run as a user of their own.",
    "instruction template": "vLLM takes the chat template of the model's own repository.",
    "instruction license requires capability": "It changes nothing of how the model serves.",
}
_LEFT = {
    "option revision": "Write revision: {value} beside that model; the others have their own (models.lock pins all).",
    "option host api-key": "Agents answer on this host's loopback, without a key. For others: gateway_listen, and "
    "roundhouse keys.",
    "option trust-remote-code": "Roundhouse runs no model's own code.",
    "option load-format": "Safetensors only: vLLM's core has left GGUF (0.24) and bitsandbytes (0.28).",
    "option cpu-offload-gb": "Weights in the host's memory are read anew for each token: the plan keeps off it.",
    "option pipeline-parallel-size data-parallel-size": "The plan splits a model by tensor parallelism: see gpus.",
    "option disable-log-stats uvicorn-log-level logging-level": _LOGS,
    "option enable-lora lora-modules reasoning-parser hf-overrides seed block-size compilation-config": _NO_SETTING,
    "env HF_TOKEN HUGGINGFACE_TOKEN HUGGING_FACE_HUB_TOKEN": "models_token of the host takes it from HF_TOKEN at each "
    "run; a roster holds no secret.",
    "env HF_ENDPOINT": "Write models_source in the inventory: it may be a mirror.",
    "env PYTORCH_CUDA_ALLOC_CONF": "The plan counts with PyTorch's own defaults.",
    "env VLLM_ALLOW_LONG_MAX_MODEL_LEN": "The plan keeps to the model's own limit.",
    "env VLLM_*": _VARIABLE,
    "env OLLAMA_*": "It is Ollama's: `roundhouse import ollama` reads its models.",
    "env *": "It is none of the engine's.",
    "flag *": "A roster has no word for it.",
    "key env_file-missing": "There is no such file: put it beside this one, or its settings are lost.",
    "key environment-text": "It has to be a list of NAME=VALUE, or NAME: VALUE a line.",
    "key ports-text volumes-text": "It has to be a list.",
    "key logging": _LOGS,
    "key extends": "It is not followed: `docker compose config > one.yml` writes it all out; import that.",
    "key network_mode networks expose": "An engine listens on the host's loopback.",
    "key depends_on labels working_dir": "An agent's unit has no such thing.",
    "key limits": "The plan sees to the card's memory; a unit's own limits are systemd's (systemctl edit).",
    "key secrets": "A token for gated models is models_token, from the environment or a vault.",
    "key *": "A roster has no such thing.",
    "parameter num_predict": "A request says it: max_tokens.",
    "parameter repeat_penalty repeat_last_n": "A request says it: repetition_penalty, which vLLM counts over the whole "
    "text.",
    "parameter top_k min_p typical_p seed stop presence_penalty frequency_penalty": "A request says it: {name}.",
    "parameter draft_num_predict": "See speculative_config of the roster.",
    "instruction system": "The client's: send it as the first message, role system ({length} characters).",
    "instruction message messages": "The client's: send these messages before the question.",
    "instruction adapter": "A roster has no adapters: merge it into the model and name the folder.",
    "instruction projector": "It is for pictures, which the plan does not count.",
    "instruction unknown": f"It is no instruction of a Modelfile that is known here: {', '.join(INSTRUCTIONS)}.",
    "service OLLAMA_MODELS": "Ollama's files stay where they are; Roundhouse has a store of its own (models_store).",
    "service OLLAMA_HOST": "Each agent has a port of its own, on loopback; Ollama keeps this one.",
}
_NOTHING = {
    "option swap-space use-v2-block-manager device max-seq-len-to-capture guided-decoding-backend": "This option has "
    "left vLLM.",
    "key build": f"The engine is vLLM {defaults.PINNED}, locked by hash in an environment of its own.",
    "key version": "Compose itself has not read it since its second version.",
    "key line": "It is no assignment.",
    f"parameter {_LLAMA_CPP}": "It steers llama.cpp, which is inside Ollama; vLLM has nothing like it.",
    "parameter *": "It is no parameter that vLLM has.",
    "instruction *": "It is no part of a model that vLLM has.",
    "service OLLAMA_KEEP_ALIVE": "An agent stays loaded until another is switched to, or roundhouse stop.",
    "service *": "It is Ollama's own.",
}


def _constant(fate: str, why: str) -> Rule:
    def rule(setting: Setting, source: Source) -> Outcome:
        return Outcome(fate, why.format(name=setting.name, value=setting.value, length=len(setting.value)))

    return rule


def _table() -> dict[str, Rule]:
    rules = _RULES.copy()
    for fate, reasons in ((ALREADY, _ALREADY), (LEFT, _LEFT), (NOTHING, _NOTHING)):
        rules |= {key: _constant(fate, why) for key, why in reasons.items()}
    return {f"{key.split()[0]} {name}": rule for key, rule in rules.items() for name in key.split()[1:]}


RULES = _table()


def outcome(setting: Setting, source: Source) -> Outcome:
    """Return what a setting becomes, by the longest key of the table that matches."""
    kind = "option" if setting.kind in ("env", "flag") else setting.kind
    for name in (f"{kind} {setting.option}", f"{setting.kind} {setting.name}"):
        if keys := [key for key in RULES if fnmatchcase(name, key)]:
            return _checked(setting, source, RULES[max(keys, key=len)])
    raise AssertionError(name)  # each kind has a *


def _checked(setting: Setting, source: Source, rule: Rule) -> Outcome:
    """Return what a rule says, or that the roster does not allow it."""
    try:
        found = rule(setting, source)
    except (ValueError, TypeError, OverflowError):
        return Outcome(LEFT, f"{setting.value!r} is no value for {setting.option}.")
    for field, value in found.fields.items():
        for problem in roster_fields.problems(field, field, value):
            return Outcome(LEFT, problem)
    if setting.kind == "env" and setting.name.startswith("VLLM_") and found.fields.keys() - {"models", "port"}:
        why = f"{found.why} vLLM has no variable {setting.name}: it only warned, and took its default."
        return found._replace(why=why)
    return found
