"""Check each setting of an agent with one rule, which yields a sentence for an invalid value.

A test checks that the argument specification of roles/preflight has the same names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..catalog.recipes import RECIPES
from ..util.suggest import RENAMED, did_you_mean
from ..vllm import engine_options
from ..vllm.formats import FORMATS, KV_DTYPE_BYTES, nearest

if TYPE_CHECKING:
    from typing import TypeGuard

# A later command, and units with the name of an agent's unit, roundhouse-WORD.service.
RESERVED_BESIDES = ("check", "devices", "gateway", "journal")
# The commands of `roundhouse`. An agent's name is a command too (`roundhouse dev`). A test compares the two lists.
_WORDS = """
bench chat clear client-config control deploy doctor ended export failover gpu help history import keys logs models plan
plans prune pull quantize ready recover resume rollback routes status stop suggest switch verify watch watchdog
"""
RESERVED = (*_WORDS.split(), *RESERVED_BESIDES)
# systemd hides these folders from the units (ProtectHome=, PrivateTmp=).
HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108 - refused, not used
# systemd accepts accounts of at most 31 characters, and an engine's account is roundhouse-NAME (plan/accounts.py).
LONGEST_NAME = 20
NAME = re.compile(rf"[a-z][a-z0-9-]{{0,{LONGEST_NAME - 1}}}")
# A path that no reader of the written files evaluates: neither Ansible, nor systemd, Compose, HAProxy or a shell.
_FOLDER = re.compile(r"(/[\w+@-][\w.+@-]*|/\.\w[\w.+@-]*)+/?")
POLICIES = ("best_fit", "exact")
# The settings that a plan may reduce; `max_model_len` only down to max_model_len_min.
GIVE_UP = ("kv_cache_dtype", "max_model_len", "model")
# The keys of an entry of `models`. With `quantize` the entry names the model that the recipe quantizes.
MODEL_FIELDS = ("model", "revision", "quantization", "quantize")
# The plan's values for settings that a roster leaves out: vLLM's defaults below 70 GiB. The plan writes them for every
# card, because vLLM's defaults depend on the card (vllm/defaults.py, batch) and would differ from the computed fit.
MAX_NUM_SEQS = 256
MAX_NUM_BATCHED_TOKENS = 2048
# Characters. A longer text belongs into the client's own messages.
LONGEST_PROMPT = 32768
MAX_PENALTY = 2  # of vLLM (sampling_params.py)
SPECULATIVE_METHODS = ("ngram", "draft_model")
_SPECULATIVE_COUNTS = ("num_speculative_tokens", "prompt_lookup_max", "prompt_lookup_min")

Rule = Callable[[str, object], Iterator[str]]


def problems(at: str, field: str, value: object) -> Iterator[str]:
    """Yield a sentence if `value` is invalid; `at` is the setting's full name, such as agents[dev].port."""
    yield from RULES[field](at, value)


def unknown_setting(at: str, key: str, known: tuple[str, ...]) -> str:
    """Return the sentence for an unknown key of the roster."""
    if key in RENAMED:
        return f"{at} was renamed to {RENAMED[key]}: use the new name."
    remedy = did_you_mean(key, known, f"Write one of {', '.join(known)}.")
    return f"{at} is not a setting. {remedy}"


def _rule(good: Callable[[object], bool], cure: str) -> Rule:
    def check(at: str, value: object) -> Iterator[str]:
        if not good(value):
            yield f"{at} is {value!r}: {cure}."

    return check


def _one_of(allowed: tuple[str, ...]) -> Rule:
    return _rule(lambda value: value in allowed, f"write one of {', '.join(allowed)}")


def _count(cure: str) -> Rule:
    return _rule(lambda value: _whole(value, 1), cure)


def _name(at: str, value: object) -> Iterator[str]:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        what = f"a lower-case word of at most {LONGEST_NAME} letters, digits and hyphens"
        yield f"{at} is {value!r}: write {what}, such as dev."
    elif value in RESERVED:
        yield f"{at} is {value!r}, a word that roundhouse uses: choose a name other than {', '.join(RESERVED)}."


def _models(at: str, value: object) -> Iterator[str]:
    if not isinstance(value, list) or not value:
        yield f"{at} is {value!r}: list at least one entry with `model`, best first."
        return
    for index, entry in enumerate(value):
        yield from _model(f"{at}[{index}]", entry)


def _model(here: str, entry: object) -> Iterator[str]:
    if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
        yield f"{here} is {entry!r}: write `model: owner/name` or `model: /path/of/a/folder`."
        return
    yield from _model_name(f"{here}.model", entry["model"])
    unknown = [key for key in entry if key not in MODEL_FIELDS]
    if unknown:
        yield unknown_setting(f"{here}.{unknown[0]}", unknown[0], MODEL_FIELDS)
    revision = entry.get("revision", "main")
    if not isinstance(revision, str) or not re.fullmatch(r"\w[\w.-]*", revision):
        yield f"{here}.revision is {revision!r}: write a branch, a tag or a commit as a string."
    if "quantization" in entry and entry["quantization"] not in [*FORMATS]:
        yield _format(f"{here}.quantization", entry["quantization"])
    if "quantize" in entry and entry["quantize"] not in [*RECIPES]:
        yield f"{here}.quantize is {entry['quantize']!r}: write one of {', '.join(RECIPES)}, or leave it out."
    elif "quantize" in entry and "quantization" in entry:
        yield f"{here}.quantization is {entry['quantization']!r} beside quantize: remove it, the recipe sets it."


def _model_name(at: str, model: str) -> Iterator[str]:
    if not model.startswith("/") and not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", model):
        yield f"{at} is {model!r}: write a hub's owner/name, or the absolute path of a folder."
    elif model.startswith("/") and not _FOLDER.fullmatch(model):
        yield f"{at} is {model!r}: name a folder whose path has only letters, digits and . _ + @ - between its slashes."
    elif "gguf" in model.lower() and not model.startswith("/"):
        yield f"{at} is {model!r}, and vLLM does not load GGUF: name the model's AWQ repository."
    if model.startswith(HIDDEN):
        yield f"{at} is {model!r}, a folder that systemd hides from the engine: move it below /srv or /var/lib."


def _format(at: str, value: object) -> str:
    close = nearest(value) if isinstance(value, str) else None
    allowed = ", ".join(FORMATS)
    if close:
        return (
            f"{at} is {value!r}, a llama.cpp file type that vLLM does not load: "
            f"write {close}, the nearest of {allowed}, and name a repository in that format."
        )
    return f"{at} is {value!r}: write one of {allowed}, or leave it out."


def _utilization(at: str, value: object) -> Iterator[str]:
    if not (_number(value) and 0 < value <= 1):
        percent = f": write {value / 100:g}" if _number(value) and 5 <= value <= 100 else ", such as 0.85"
        yield f"{at} is {value!r}, but it is a share of the card, above 0 and at most 1{percent}."


def _gpus(value: object) -> bool:
    if not isinstance(value, list) or not value or not all(_whole(index, 0) for index in value):
        return False
    return len(set(value)) == len(value)


def _give_up(value: object) -> bool:
    return isinstance(value, list) and all(word in GIVE_UP for word in value) and len(set(value)) == len(value)


def _speculative(at: str, value: object) -> Iterator[str]:
    if not isinstance(value, dict) or value.get("method") not in SPECULATIVE_METHODS:
        yield f"{at} is {value!r}: write a mapping with method: {' or '.join(SPECULATIVE_METHODS)}."
        return
    allowed = ("method", "model", "revision", *_SPECULATIVE_COUNTS)
    for key in [key for key in value if key not in allowed]:
        yield f"{at}.{key} is not a setting. Write one of {', '.join(allowed)}."
    for key in _SPECULATIVE_COUNTS:
        if (key in value or key == "num_speculative_tokens") and not _whole(value.get(key), 1):
            yield f"{at}.{key} is {value.get(key)!r}: write a whole number of tokens, such as 4."
    if value["method"] == "draft_model":
        yield from _model(at, {key: value[key] for key in ("model", "revision") if key in value})
    elif "model" in value:
        yield f"{at}.model is {value['model']!r}, but method ngram uses no draft model: remove it."


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(value: object, low: int, high: int | None = None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low and (high is None or value <= high)


_PENALTY = _rule(lambda value: _number(value) and -MAX_PENALTY <= value <= MAX_PENALTY, "write a number from -2 to 2")
_TRUE_FALSE = _rule(lambda value: isinstance(value, bool), "write true or false")

RULES: dict[str, Rule] = {
    "name": _name,
    "models": _models,
    "port": _rule(lambda value: _whole(value, 1024, 65535), "write a whole number from 1024 to 65535"),
    "max_model_len": _count("write a whole number of tokens, such as 16384"),
    "gpu_memory_utilization": _utilization,
    "temperature": _rule(lambda value: _number(value) and 0 <= value <= 2, "write a number from 0 to 2"),
    "top_p": _rule(lambda value: _number(value) and 0 < value <= 1, "write a number above 0 and at most 1"),
    "description": _rule(lambda value: isinstance(value, str), "write a string"),
    "policy": _one_of(POLICIES),
    "give_up": _rule(_give_up, f"list some of {', '.join(GIVE_UP)}, each once, the least important first"),
    "max_model_len_min": _count("write the fewest tokens that the agent needs, such as 8192"),
    "kv_cache_dtype": _one_of(tuple(KV_DTYPE_BYTES)),
    "gpus": _rule(_gpus, "write a list of GPU indices, each once, such as [0]"),
    "max_num_seqs": _count("write the number of requests that may run at once, such as 16"),
    "max_num_batched_tokens": _count("write the number of tokens per step, such as 2048"),
    "enforce_eager": _TRUE_FALSE,
    "enable_prefix_caching": _TRUE_FALSE,
    "tool_call_parser": _rule(
        lambda value: isinstance(value, str) and bool(re.fullmatch(r"[a-z0-9_]+", value)),
        "write the name of a vLLM parser, such as hermes for Qwen models",
    ),
    "speculative_config": _speculative,
    "engine_options": engine_options.problems,
    "system_prompt": _rule(
        lambda value: isinstance(value, str) and 0 < len(value) <= LONGEST_PROMPT,
        f"write a text of at most {LONGEST_PROMPT} characters",
    ),
    "top_k": _rule(lambda value: _whole(value, 0), "write a whole number of tokens, or 0 for all"),
    "min_p": _rule(lambda value: _number(value) and 0 <= value <= 1, "write a number from 0 to 1"),
    "presence_penalty": _PENALTY,
    "frequency_penalty": _PENALTY,
    "repetition_penalty": _rule(
        lambda value: _number(value) and 0 < value <= MAX_PENALTY, "write a number above 0 and at most 2"
    ),
    "thinking": _TRUE_FALSE,
    "max_tokens": _count("write the maximum number of tokens of an answer, such as 4096"),
}
