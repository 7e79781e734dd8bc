"""Convert the options of a command line to a question for the fit, and refuse invalid ones."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..catalog import gpus, hf_config, model_families
from ..catalog.architecture import Model, Unknown
from ..errors import RoundhouseError, UsageError
from ..models import known
from ..util import console
from ..vllm import defaults
from ..vllm.formats import (
    KV_DTYPE_BYTES,
    OLDEST_CAPABILITY,
    UNCOVERED,
    WEIGHT_FORMATS,
    Capability,
    members,
    nearest,
)
from .estimate import Question

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import ModelConfig

_ALLOWED = ", ".join(WEIGHT_FORMATS)
_BATCH = ("max_num_seqs", "max_num_batched_tokens")


class NotedQuestion(NamedTuple):
    """Hold a question, the card's name where it is known, and sentences on what was assumed.

    `unlisted` is the name of a card that the catalog does not have; vLLM may not support it.
    """

    question: Question
    card: str | None
    notes: tuple[str, ...]
    unlisted: str | None = None


def model(
    name: str, quantization: str | None = None, configs: Mapping[str, ModelConfig] | None = None
) -> Model | Unknown:
    """Return a model by a hub's owner/name or a folder, in the checkpoint's format or in `quantization`.

    `configs` are those of models.known, which have precedence over the catalog.

    Raises RoundhouseError `model_unknown` for a model that is not in the table.
    """
    if quantization and quantization.lower() in UNCOVERED:
        return Unknown(name, f"The formulas do not cover the format {quantization}. Write one of {_ALLOWED}.")
    wanted = _wanted(quantization)
    found = known.model(configs[name], name) if configs and name in configs else _find(name)
    if isinstance(found, Unknown) or not wanted or found.form.name in wanted:
        return found
    if found.form.name != "bf16":
        text = "--quantization is {value!r} and {model} is {format}."
        remedy = "Write {format}, omit the option, or name a repository in that format."
        fields = {"value": quantization, "model": name, "format": found.form.name}
        raise UsageError("quantization_of_another_checkpoint", text, remedy, **fields)
    if len(wanted) > 1 and wanted[0] != "fp8":
        text = "--quantization {value!r} is ambiguous: {formats}."
        remedy = "Write one of them, or name a repository in that format ({model} is 16-bit)."
        fields = {"value": quantization, "model": name, "formats": ", ".join(wanted)}
        raise UsageError("quantization_ambiguous", text, remedy, **fields)
    return model_families.in_format(name, found.architecture, wanted[0])._replace(stated=False)


def check(asked: Mapping[str, Any]) -> None:
    """Raise UsageError for the first invalid value among the command's options; None is an omitted option."""
    share, dtype = asked["gpu_memory_utilization"], asked["kv_cache_dtype"]
    if share is not None and not 0 < share <= 1:
        hint = f"{share / 100:g}" if 1 < share <= 100 else "a share of the card, such as 0.9"
        raise _invalid("gpu-memory-utilization", share, f"Write {hint}; the value is above 0 and at most 1.")
    if dtype and dtype not in KV_DTYPE_BYTES:
        raise _invalid("kv-cache-dtype", dtype, f"Write one of {', '.join(KV_DTYPE_BYTES)}.")
    for name in (
        "max_model_len",
        "tensor_parallel_size",
        "max_num_seqs",
        "max_num_batched_tokens",
        "gpus",
        "lora",
        "mtp",
        "pipeline_parallel_size",
    ):
        check_count(name.replace("_", "-"), asked.get(name))
    for name in ("cpu_offload_gib", "free_gib"):
        gib = asked.get(name)
        if gib is not None and not 0 <= gib < math.inf:
            raise _invalid(name.replace("_", "-"), gib, "Write GiB, such as 4.")
    engine = asked.get("engine_version")
    if engine and defaults.version(engine) is None:
        raise _invalid("engine-version", engine, f"Write a version such as {defaults.PINNED}.")
    seqs, tokens, gpus, ranks = (asked[name] for name in (*_BATCH, "gpus", "tensor_parallel_size"))
    if seqs and tokens and seqs > tokens:  # vLLM refuses it (config/scheduler.py)
        raise _invalid("max-num-seqs", seqs, f"Write at most --max-num-batched-tokens, {tokens}.")
    if gpus and ranks and ranks > gpus:
        text = "--gpus is {gpus} and --tensor-parallel-size is {ranks}."
        raise UsageError("gpus_too_few", text, "Write --gpus {ranks} or more.", gpus=gpus, ranks=ranks)


def check_count(option: str, value: int | None) -> None:
    """Raise UsageError for a count below 1; None is an omitted option."""
    if value is not None and value < 1:
        raise _invalid(option, value, "Write a whole number from 1.")


def max_model_len(wanted: int | None, found: Model) -> int:
    """Return the requested length, or the model's maximum for None. Raises UsageError above the model's maximum."""
    own = found.architecture.max_position_embeddings
    if wanted is None and own is None:
        text = "The maximum length of {model} is unknown."
        raise UsageError("max_model_len_missing", text, "Add --max-model-len.", model=found.name)
    if wanted is not None and own is not None and wanted > own:
        raise _invalid("max-model-len", wanted, f"Write at most {own}, the maximum of {found.name}.")
    return wanted or own or 0


def card(name: str | None, vram_gib: float | None) -> tuple[gpus.Card | None, float]:
    """Return the card of the table, None for a card that is not in it, and CUDA's total of its memory in GiB.

    Raises UsageError for a card that vLLM does not support, an ambiguous name, and an unknown name without `vram_gib`.
    """
    if name is None and vram_gib is None:
        raise gpu_missing()
    found = gpus.find(name, vram_gib) if name else None
    _check_name(name, found)
    if vram_gib is not None:
        if not 0 < vram_gib < math.inf:
            raise _invalid("vram-gib", vram_gib, "Write the card's total in GiB, such as 15.5.")
        # People write the marketing size, which is more than CUDA's total.
        marketing = gpus.total_gib(found) if found and vram_gib == found.marketing_gb else None
        return found, marketing or vram_gib
    if found is None:
        raise _unknown_gpu(str(name))
    total = gpus.total_gib(found)
    if total is None:
        text = "--gpu {gpu!r} uses the host's memory."
        raise UsageError("gpu_memory_unknown", text, "Add --vram-gib with CUDA's total on that host.", gpu=name)
    return found, total


def gpu_missing() -> UsageError:
    """Return the error of a question without a card, on a machine without an NVIDIA GPU."""
    text = "This machine has no NVIDIA GPU."
    return UsageError("gpu_missing", text, 'Add --gpu NAME, such as "RTX 4090", or --vram-gib GIB.')


def gpu_too_old(name: str, capability: Capability | None) -> UsageError:
    """Return the error of a card that vLLM does not support; a capability of None is older than Turing."""
    required = _dotted(OLDEST_CAPABILITY)
    have = f"it has compute capability {_dotted(capability)}" if capability else "its generation is older than Turing"
    text = "{gpu} is too old: {have}, and vLLM requires compute capability {required} or higher."
    remedy = "Use a card of the Turing generation (T4, RTX 20 series) or newer."
    fields = {"gpu": name, "have": have, "required": required, "capability": capability and _dotted(capability)}
    return UsageError("gpu_too_old", text, remedy, **fields)


def _dotted(capability: Capability) -> str:
    return ".".join(map(str, capability))


def _check_name(name: str | None, found: gpus.Card | None) -> None:
    """Raise UsageError for a name of several cards, a card that vLLM does not support, and another maker's GPU."""
    if name is None or found:
        return
    if several := [each.name for each in gpus.candidates(name)]:
        text, remedy = "--gpu {gpu!r} is ambiguous: {candidates}.", 'Write the size, as in --gpu "{first}".'
        fields = {"gpu": name, "candidates": " or ".join(several), "first": several[0]}
        raise UsageError("gpu_ambiguous", text, remedy, **fields)
    if old := gpus.legacy(name):
        raise gpu_too_old(old.name, old.capability)
    if gpus.is_of_other_maker(name):
        text = "--gpu {gpu!r} is not an NVIDIA GPU, and Roundhouse supports NVIDIA GPUs only."
        raise UsageError("gpu_not_nvidia", text, "--list-gpus shows the known cards.", gpu=name)
    if part := re.search(r"\b(jetson|orin|xavier|mig)\b", name.lower()):
        text = "--gpu {gpu!r} is {kind}, which Roundhouse does not support."
        kind = "an instance of a divided card (MIG)" if part[1] == "mig" else "the integrated GPU of a Jetson"
        raise UsageError("gpu_unsupported", text, "Name a whole PCI card, or a DGX Spark.", gpu=name, kind=kind)


def _unknown_gpu(name: str) -> UsageError:
    if "laptop" in name.lower():
        text = "--gpu {gpu!r} is a laptop GPU, whose memory and bandwidth differ from the desktop card's."
        return UsageError("unknown_gpu", text, "Add --vram-gib with the card's total memory.", gpu=name, candidates=[])
    close = gpus.similar(name)
    remedy = "Add --vram-gib with the card's total memory; --list-gpus shows the known cards."
    if close:
        remedy = f"Did you mean {_either(close)}? For another card, add --vram-gib with its total memory."
    return UsageError("unknown_gpu", "--gpu {gpu!r} is not a known card.", remedy, gpu=name, candidates=close)


def _either(names: list[str]) -> str:
    """Return "a, b or c"."""
    return " or ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])


def card_notes(known: gpus.Card | None, vram_gib: float | None, taken_gib: float) -> tuple[str, ...]:
    """Return sentences on which card and which memory were assumed."""
    found = []
    if known and vram_gib != taken_gib and not (vram_gib is None and known.cuda_gib is not None):
        source = "as a start log states" if known.cuda_gib else f"the marketing size less {gpus.BOX_HOLDS_BACK_GIB:g}"
        found.append(f"CUDA's total is assumed as {taken_gib:g} GiB, {source}; the driver states the exact value.")
    return tuple(found)


def notes(question: Question, card_name: str | None) -> tuple[str, ...]:
    """Return sentences on what the answer assumes."""
    found = []
    if not question.model.stated:
        found.append(
            f"{question.model.name} is a 16-bit checkpoint. The numbers are those of the same model in "
            f"{question.model.form.name}, which is another repository."
        )
    if card_name and question.capability is None:
        found.append(f"{card_name} is not in the catalog: its support, its decode ceiling and its formats are unknown.")
    if card_name is None and question.card_gib >= defaults.LARGE_CARD_GIB and question.max_num_seqs is None:
        found.append(
            "max_num_seqs is assumed as 1024, vLLM's default for large cards; on an A100 it is 256. Add --gpu or "
            "--max-num-seqs."
        )
    return tuple(found)


def _invalid(option: str, value: object, cure: str) -> UsageError:
    code = f"{option.replace('-', '_')}_invalid"
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)  # JSON has neither infinity nor NaN
    return UsageError(code, "--{option} is {value!r}.", "{cure}", option=option, value=value, cure=cure)


def _wanted(quantization: str | None) -> tuple[str, ...]:
    """Return the formats that a word may mean, the most common first; () for None."""
    if quantization is None:
        return ()
    if meant := members(quantization):
        return meant
    if close := nearest(quantization):
        text = "--quantization {value!r} is a llama.cpp file type, which vLLM does not load."
        remedy = "Write {nearest}, the closest format, and name a repository in it."
        raise UsageError("quantization_of_llama_cpp", text, remedy, value=quantization, nearest=close)
    raise _invalid("quantization", quantization, f"Write one of {_ALLOWED}, or omit the option.")


def _find(name: str) -> Model | Unknown:
    folder = Path(name).expanduser()
    if name.startswith(("/", ".", "~")) or folder.is_dir():
        return hf_config.read(folder)
    if found := model_families.find(name):
        return found
    if "gguf" in name.lower():
        text = "--model {model!r} is a GGUF repository, which vLLM does not load."
        raise UsageError("model_is_gguf", text, "Name the model's AWQ repository.", model=name)
    raise _unknown_model(name)


def _unknown_model(name: str) -> RoundhouseError:
    """Return the error of a model that is not in the table: near names, and the commands that make it known."""
    close = model_families.similar(name)
    meant = f"Did you mean {_either(close)}?" if close else ""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        text = "--model {model!r} is neither owner/name nor a folder."
        remedy = meant or "Write a hub's owner/name, or a folder with a config.json."
        return UsageError("model_invalid", text, remedy, model=name, candidates=close)

    from ..models.hub import Hub  # only for this address; it imports manifests and hashes

    folder = name.partition("/")[2]
    commands = (
        f"  curl -fL --create-dirs -o {folder}/config.json \\",
        f"    {Hub().endpoint}/{name}/resolve/main/config.json",
        f"  {console.command_name('plan.py', 'roundhouse-plan')} --model ./{folder}",
    )
    text = "{model} is not in the catalog."
    remedy = (
        "{meant}To read it from the hub, add --hub. Offline, download its config.json and name the folder:\n{commands}"
    )
    fields = {"model": name, "candidates": close, "meant": meant and f"{meant}\n", "commands": "\n".join(commands)}
    return RoundhouseError("model_unknown", text, remedy, **fields)
