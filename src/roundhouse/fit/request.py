"""Turn the words of a command line into a question for the fit, and refuse invalid ones."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..catalog import gpus, hf_config, model_families
from ..catalog.model_families import Model, Unknown
from ..errors import UsageError
from ..util.suggest import did_you_mean
from ..vllm import defaults
from ..vllm.formats import KV_DTYPE_BYTES, UNCOVERED, WEIGHT_FORMATS, members, nearest
from .estimate import Question

_ALLOWED = ", ".join(WEIGHT_FORMATS)
_BATCH = ("max_num_seqs", "max_num_batched_tokens")


class NotedQuestion(NamedTuple):
    """A question, the card's name when it is known, and sentences on what was assumed."""

    question: Question
    card: str | None
    notes: tuple[str, ...]


def model(name: str, quantization: str | None = None) -> Model | Unknown:
    """Return a model by a hub's owner/name or a folder, in the checkpoint's format or the one that is asked for."""
    if quantization and quantization.lower() in UNCOVERED:
        return Unknown(name, f"{quantization} is a format whose bytes the formulas do not cover: {_ALLOWED} are.")
    wanted = _wanted(quantization)
    found = _find(name)
    if isinstance(found, Unknown) or not wanted or found.form.name in wanted:
        return found
    if found.form.name != "bf16":
        text = "--quantization is {value!r} and {model} is {format}."
        remedy = "Write {format}, leave it out, or name a repository in that format."
        fields = {"value": quantization, "model": name, "format": found.form.name}
        raise UsageError("quantization_of_another_checkpoint", text, remedy, **fields)
    if len(wanted) > 1 and wanted[0] != "fp8":
        text = "--quantization is {value!r}, which may be {formats}."
        remedy = "Write which of them, or name a repository in that format ({model} is 16-bit)."
        fields = {"value": quantization, "model": name, "formats": ", ".join(wanted)}
        raise UsageError("quantization_ambiguous", text, remedy, **fields)
    return model_families.in_format(name, found.architecture, wanted[0])._replace(stated=False)


def check(asked: Mapping[str, Any]) -> None:
    """Raise UsageError for the first invalid value among the command's options; None is one that was left out."""
    share, dtype = asked["gpu_memory_utilization"], asked["kv_cache_dtype"]
    if share is not None and not 0 < share <= 1:
        hint = f"{share / 100:g}" if 1 < share <= 100 else "a share of the card, such as 0.9"
        raise _invalid("gpu-memory-utilization", share, f"Write {hint}: it is above 0 and at most 1.")
    if dtype and dtype not in KV_DTYPE_BYTES:
        raise _invalid("kv-cache-dtype", dtype, f"Write one of {', '.join(KV_DTYPE_BYTES)}.")
    for name in ("max_model_len", "tensor_parallel_size", "max_num_seqs", "max_num_batched_tokens", "gpus"):
        check_count(name.replace("_", "-"), asked[name])
    seqs, tokens, gpus, ranks = (asked[name] for name in (*_BATCH, "gpus", "tensor_parallel_size"))
    if seqs and tokens and seqs > tokens:  # vLLM refuses it (config/scheduler.py)
        raise _invalid("max-num-seqs", seqs, f"Write at most --max-num-batched-tokens, {tokens}.")
    if gpus and ranks and ranks > gpus:
        text = "--gpus is {gpus} and --tensor-parallel-size {ranks}."
        raise UsageError("gpus_too_few", text, "Write at least as many.", gpus=gpus, ranks=ranks)


def check_count(option: str, value: int | None) -> None:
    """Raise UsageError for a count below 1; None is an option that was left out."""
    if value is not None and value < 1:
        raise _invalid(option, value, "Write a whole number from 1.")


def max_model_len(wanted: int | None, found: Model) -> int:
    """Return the length that is asked for, the model's own for None; UsageError when the model does not reach it."""
    own = found.architecture.max_position_embeddings
    if wanted is None and own is None:
        text = "--max-model-len is missing, and {model}'s own is not known."
        raise UsageError("max_model_len_missing", text, "Write it.", model=found.name)
    if wanted is not None and own is not None and wanted > own:
        raise _invalid("max-model-len", wanted, f"Write at most {own}: {found.name} goes no further.")
    return wanted or own or 0


def card(name: str | None, vram_gib: float | None) -> tuple[gpus.Card | None, float]:
    """Return the card of the table, None when it is not in it, and CUDA's total of its memory in GiB."""
    found = gpus.find(name, vram_gib) if name else None
    if vram_gib is not None:
        if not 0 < vram_gib < math.inf:
            raise _invalid("vram-gib", vram_gib, "Write the card's total in GiB, such as 15.5.")
        # What is on the box is more than CUDA's total, and people write it.
        on_the_box = gpus.total_gib(found) if found and vram_gib == found.marketing_gb else None
        return found, on_the_box or vram_gib
    if name is None:
        cure = "Write the card's total in GiB, or --gpu with its name."
        raise UsageError("vram_gib_missing", "--vram-gib is missing.", cure)
    total = gpus.total_gib(found) if found else None
    if found is None:
        known = ", ".join(each.name for each in gpus.CARDS)
        remedy = did_you_mean(name, [each.name for each in gpus.CARDS], "Add --vram-gib, or write one of {known}.")
        text = "--gpu is {gpu!r}, which is not known."
        raise UsageError("unknown_gpu", text, remedy, gpu=name, known=known)
    if total is None:
        text, remedy = "--gpu is {gpu!r}, whose memory is the host's.", "Add --vram-gib, CUDA's total there."
        raise UsageError("gpu_memory_unknown", text, remedy, gpu=name)
    return found, total


def card_note(known: gpus.Card | None, vram_gib: float | None, taken_gib: float) -> str | None:
    """Return a sentence when the memory was not asked for as it is taken, None otherwise."""
    if known is None or vram_gib == taken_gib or (vram_gib is None and known.cuda_gib is not None):
        return None
    source = "as in a start log" if known.cuda_gib else f"what is on the box less {gpus.BOX_HOLDS_BACK_GIB:g}"
    return f"CUDA's total of this card is taken as {taken_gib:g} GiB, {source}; its driver states it."


def notes(question: Question, card_name: str | None, known: gpus.Card | None) -> tuple[str, ...]:
    """Return sentences on what the answer takes for granted."""
    found = []
    if not question.model.stated:
        found.append(
            f"{question.model.name} is a 16-bit checkpoint: the numbers are those of the same model in "
            f"{question.model.form.name}, which is a repository of its own."
        )
    if card_name and known is None:
        found.append(f"{card_name} is not in the table of cards: no decode ceiling, no check of its formats.")
    if card_name is None and question.card_gib >= defaults.LARGE_CARD_GIB and question.max_num_seqs is None:
        found.append(
            "max_num_seqs is taken as vLLM's default for large cards, 1024; on an A100 it is 256: add --gpu, "
            "or write --max-num-seqs."
        )
    return tuple(found)


def _invalid(option: str, value: object, cure: str) -> UsageError:
    code = f"{option.replace('-', '_')}_invalid"
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)  # JSON has neither
    return UsageError(code, "--{option} is {value!r}.", "{cure}", option=option, value=value, cure=cure)


def _wanted(quantization: str | None) -> tuple[str, ...]:
    """Return the formats that a word may mean, first the plainest; () for no word."""
    if quantization is None:
        return ()
    if meant := members(quantization):
        return meant
    if close := nearest(quantization):
        text = "--quantization is {value!r}, a llama.cpp file type that vLLM does not load."
        remedy = "Write {nearest}, the nearest format that it has, and name a repository in it."
        raise UsageError("quantization_of_llama_cpp", text, remedy, value=quantization, nearest=close)
    raise _invalid("quantization", quantization, f"Write one of {_ALLOWED}, or leave it out.")


def _find(name: str) -> Model | Unknown:
    folder = Path(name).expanduser()
    if name.startswith(("/", ".", "~")) or folder.is_dir():
        return hf_config.read(folder)
    if found := model_families.find(name):
        return found
    if "gguf" in name.lower():
        text = "--model is {model!r}, and vLLM does not load GGUF."
        raise UsageError("model_is_gguf", text, "Name the model's AWQ repository.", model=name)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise _invalid("model", name, "Write a hub's owner/name, or a folder with a config.json.")
    return Unknown(
        name,
        f"{name} is not in the catalog: pull its config.json and name the folder "
        "(the Qwen2.5, Qwen2.5-Coder and Qwen3 dense families are known without).",
    )
