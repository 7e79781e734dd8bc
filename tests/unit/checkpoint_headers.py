"""Write the headers of a checkpoint as its author's tools do: tensors by their published names, types and shapes.

The files are sparse: they have the sizes of real ones and no weights.
"""

import json
import struct

from roundhouse.catalog import model_families

BYTES = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "U8": 1, "F8_E4M3": 1}


def config_of(repo):
    """Return the config.json of a catalog's repository, with its quantization."""
    entry = model_families._REPOSITORIES[repo]
    family = model_families._FAMILY[entry[0]]
    config = json.loads(json.dumps(family["models"][entry[0]]["config"]))
    text = config.get("text_config", config)
    padded = model_families.find(repo).architecture.intermediate_size
    if text.get("intermediate_size") and entry[1] in ("awq", "gptq-int4", "gptq-int8"):
        text["intermediate_size"] = padded
    stated = {
        "awq": {"quant_method": "awq", "bits": 4, "group_size": 128},
        "gptq-int4": {"quant_method": "gptq", "bits": 4, "group_size": 128},
        "gptq-int8": {"quant_method": "gptq", "bits": 8, "group_size": 128},
        "fp8-block": {"quant_method": "fp8", "weight_block_size": [128, 128]},
        "mxfp4": {"quant_method": "mxfp4"},
    }.get(entry[1])
    return config | ({"quantization_config": stated} if stated else {})


def linear(name, inputs, outputs, form):
    """Yield the tensors of a linear layer in a format, as (name, type, shape)."""
    if form == "bf16":
        yield f"{name}.weight", "BF16", (outputs, inputs)
    elif form == "awq":
        yield f"{name}.qweight", "I32", (inputs, outputs // 8)
        yield f"{name}.qzeros", "I32", (inputs // 128, outputs // 8)
        yield f"{name}.scales", "F16", (inputs // 128, outputs)
    elif form.startswith("gptq"):
        each = 8 if form.endswith("4") else 4
        yield f"{name}.qweight", "I32", (inputs // each, outputs)
        yield f"{name}.qzeros", "I32", (inputs // 128, outputs // each)
        yield f"{name}.scales", "F16", (inputs // 128, outputs)
        yield f"{name}.g_idx", "I32", (inputs,)
    else:
        yield f"{name}.weight", "F8_E4M3", (outputs, inputs)
        yield f"{name}.weight_scale_inv", "F32", (-(-outputs // 128), -(-inputs // 128))


def tensors(repo):
    """Yield the tensors of a catalog's repository of a dense model, or of one with experts, as (name, type, shape)."""
    model = model_families.find(repo)
    arch, form = model.architecture, model.form.name
    hidden, heads, keys = arch.hidden_size, arch.num_attention_heads, arch.num_key_value_heads
    yield "model.embed_tokens.weight", "BF16", (arch.vocab_size, hidden)
    if not arch.tie_word_embeddings:
        yield "lm_head.weight", "BF16", (arch.vocab_size, hidden)
    yield "model.norm.weight", "BF16", (hidden,)
    for layer in range(arch.num_hidden_layers):
        at = f"model.layers.{layer}"
        yield f"{at}.input_layernorm.weight", "BF16", (hidden,)
        yield f"{at}.post_attention_layernorm.weight", "BF16", (hidden,)
        for name, count in (("q", heads), ("k", keys), ("v", keys)):
            yield from linear(f"{at}.self_attn.{name}_proj", hidden, count * arch.head_dim, form)
            if arch.qkv_bias:
                yield f"{at}.self_attn.{name}_proj.bias", "BF16", (count * arch.head_dim,)
        yield from linear(f"{at}.self_attn.o_proj", heads * arch.head_dim, hidden, form)
        if arch.qk_norm:
            yield f"{at}.self_attn.q_norm.weight", "BF16", (arch.head_dim,)
            yield f"{at}.self_attn.k_norm.weight", "BF16", (arch.head_dim,)
        if layer < arch.moe_layers:
            yield f"{at}.mlp.gate.weight", "BF16", (arch.num_experts, hidden)
            for expert in range(arch.num_experts):
                yield from block(f"{at}.mlp.experts.{expert}", hidden, arch.moe_intermediate_size, form)
        else:
            yield from block(f"{at}.mlp", hidden, arch.intermediate_size, form)


def block(name, hidden, inner, form):
    """Yield the tensors of a gated block."""
    yield from linear(f"{name}.gate_proj", hidden, inner, form)
    yield from linear(f"{name}.up_proj", hidden, inner, form)
    yield from linear(f"{name}.down_proj", inner, hidden, form)


def size(kind, shape):
    """Return the bytes of a tensor."""
    count = BYTES[kind]
    for dimension in shape:
        count *= dimension
    return count


def write(folder, config, found, shards=3):
    """Write config.json, the index, and sparse shards; return the bytes of all tensors."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    found = list(found)
    parts = [found[index::shards] for index in range(shards)]
    names = [f"model-{index + 1:05}-of-{shards:05}.safetensors" for index in range(shards)]
    weight_map, total = {}, 0
    for name, part in zip(names, parts, strict=True):
        header, at = {"__metadata__": {"format": "pt"}}, 0
        for tensor, kind, shape in part:
            end = at + size(kind, shape)
            header[tensor] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, end]}
            weight_map[tensor] = name
            at = end
        text = json.dumps(header).encode()
        with (folder / name).open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + at)
        total += at
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total
