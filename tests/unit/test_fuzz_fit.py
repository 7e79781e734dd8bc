"""Generated configs, cards and options: an answer without a traceback, nothing negative, and more is never worse."""

import json

from fuzz import run

from roundhouse.catalog import hf_config, model_families
from roundhouse.catalog.architecture import Model, Unknown
from roundhouse.fit import kv_cache, sizes
from roundhouse.fit.estimate import FITS, NO, TIGHT, Question, fit, longest
from roundhouse.models import headers, known
from roundhouse.vllm.formats import WEIGHT_FORMATS

ORDER = {NO: 0, TIGHT: 1, FITS: 2}
FAMILIES = [entry["config"] for family in model_families._files() for entry in family["models"].values()]
QUANTIZATIONS = [
    None,
    {"quant_method": "awq", "bits": 4, "group_size": 128},
    {"quant_method": "gptq", "bits": 8, "group_size": 64},
    {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head", "self_attn"]},
    {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
    {"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head", "*linear_attn*"]},
    {"quant_method": "auto-round", "bits": 4, "group_size": 128, "extra_config": {"lm_head": {"bits": 16}}},
    {
        "quant_method": "compressed-tensors",
        "config_groups": {"a": {"weights": {"num_bits": 4, "type": "int", "group_size": 32}, "targets": ["Linear"]}},
        "ignore": ["lm_head", "re:.*mlp.gate$"],
    },
]


def model(draw):
    """Return a model of a generated config.json, or None for one that is not covered."""
    config = json.loads(json.dumps(draw.choice(FAMILIES)))
    if stated := draw.choice(QUANTIZATIONS):
        config["quantization_config"] = stated
    text = config.get("text_config", config)
    for field in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size", "moe_intermediate_size"):
        if field in text and draw.maybe(0.3):
            text[field] = draw.choice([1, 2, 3, 7, 64, 128, 1000, 4096, 100_000])
    text.pop("layer_types", None) if draw.maybe(0.1) else None
    found = hf_config.parse(config, "m")
    return found if isinstance(found, Model) else None


def question(draw, found):
    return Question(
        found,
        draw.choice([0.5, 4, 8, 11.6, 15.5, 23.5, 31.4, 79.2, 139.8, 180]),
        draw.choice([1, 15, 16, 17, 1000, 32768, 262144, 10**9]),
        gpu_memory_utilization=draw.choice([0.01, 0.3, 0.7, 0.92, 1.0]),
        kv_cache_dtype=draw.choice(["auto", "fp8"]),
        tensor_parallel_size=draw.choice([1, 1, 2, 3, 4, 8]),
        max_num_seqs=draw.choice([None, 1, 16, 1024]),
        max_num_batched_tokens=draw.choice([None, 1, 2048, 65536]),
        enforce_eager=draw.maybe(),
        capability=draw.choice([None, (7, 5), (8, 0), (8, 9), (9, 0), (12, 0)]),
        bandwidth_gb_s=draw.choice([None, 448.0]),
        system_gib=draw.choice([None, None, 8.6]),
        engine=draw.choice([(0, 6), (0, 10), (0, 17), (0, 24), (0, 28), (0, 32), (0, 33)]),
        mtp=draw.maybe(0.3),
        drafts=draw.choice([0, 1, 5]),
        adapters=draw.choice([0, 0, 2]),
        cpu_offload_gib=draw.choice([0, 0, 5, 10**6]),
        pipeline_parallel_size=draw.choice([1, 1, 2, 5]),
        images=draw.maybe(),
        shared_prefixes=draw.maybe(),
        free_gib=draw.choice([None, None, 0.0, 10.0]),
    )


def check_answer(draw):
    found = model(draw)
    if found is None:
        return
    asked = question(draw, found)
    made = fit(asked)
    assert made.verdict in ORDER
    assert all(reason.endswith(".") for reason in made.reasons)
    if made.weights_gib_per_rank is None:
        return
    numbers = (made.weights_gib_per_rank, made.overhead_gib, made.kv_gib_per_rank, made.uncertainty_gib)
    assert min(numbers) >= 0
    assert min(made.kv_tokens, made.max_model_len_possible, made.kv_bytes_per_token_per_rank) >= 0
    assert made.state_bytes_per_sequence_per_rank >= 0
    assert all(term.gib >= 0 and term.uncertainty_gib >= 0 for term in made.terms)
    assert 0 <= longest(asked) <= asked.max_model_len
    # A larger card, a shorter length and fewer ranks' weights are never worse.
    if asked.max_num_seqs and asked.max_num_batched_tokens and asked.free_gib is None:
        more = fit(asked._replace(card_gib=asked.card_gib * 1.5))
        assert more.gap_gib <= made.gap_gib
        assert ORDER[more.verdict] >= ORDER[made.verdict]
        assert more.kv_tokens >= made.kv_tokens
        shorter = fit(asked._replace(max_model_len=max(1, asked.max_model_len // 2)))
        assert shorter.gap_gib <= made.gap_gib
    two = fit(asked._replace(tensor_parallel_size=asked.tensor_parallel_size * 2))
    if two.weights_gib_per_rank is not None:
        assert two.weights_gib_per_rank <= made.weights_gib_per_rank * 1.02


def test_generated_questions():
    run("questions to the fit", check_answer)


def test_generated_pools():
    def check(draw):
        shape = draw.choice(list(model_families.ARCHITECTURES.values()))
        settings = kv_cache.Settings(
            dtype=draw.choice(["auto", "fp8"]),
            ranks=draw.choice([1, 2, 4]),
            in_flight_tokens=draw.choice([1, 2048, 16384]),
            drafts=draw.choice([0, 1, 4]),
            shared_prefixes=draw.maybe(),
            block_tokens=draw.choice([16, 128]),
        )
        found = kv_cache.pool(shape, settings)
        tokens = draw.randrange(1, 300_000)
        room = found.needed(tokens)
        # What a request needs is enough for it, and one byte less is not enough for a longer one.
        assert tokens <= found.longest(room, 1 << 20) <= 1 << 20
        assert found.longest(room - 1, 1 << 20) < tokens + found.block_tokens
        assert found.needed(tokens) <= found.needed(tokens + 1)
        assert found.tokens(room, tokens) >= tokens
        assert found.tokens(0, tokens) == found.longest(0, tokens) == 0

    run("pools of the KV cache", check)


def test_generated_quantizations():
    whole = FAMILIES[0]

    def check(draw):
        stated = draw.changed(draw.choice(QUANTIZATIONS[1:]), 0.2)
        found = hf_config.parse({**whole, "quantization_config": stated}, "m")
        assert isinstance(found, (Model, Unknown))
        if isinstance(found, Model):
            assert sizes.weights(found.architecture, found.form, 1, found.parts).resident > 0

    run("quantizations", check)


def test_generated_headers():
    def check(draw):
        size = draw.choice([0, 1, 1000, -1, 2**62, 2**70])
        entry = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, size]}
        header = {f"model.layers.{draw.randrange(99)}.{draw.text()}.weight": draw.changed(entry, 0.2)}
        content = draw.damaged(json.dumps(header).encode()) if draw.maybe(0.3) else json.dumps(header).encode()
        try:
            found = list(headers.tensors(content))
        except ValueError:
            return
        changed = draw.changed(FAMILIES[0], 0.05)
        sums = headers.held(found, changed if isinstance(changed, dict) else FAMILIES[0])
        assert sums.total == sum(tensor.size for tensor in found)
        assert known.held(sums._asdict()) == sums

    run("headers of checkpoints", check)


def test_each_format_of_each_catalog_model():
    for shape in model_families.ARCHITECTURES.values():
        for form in WEIGHT_FORMATS.values():
            made = sizes.weights(shape, form, 1)
            assert 0 < made.read_per_token <= made.resident * 1.01
            assert made.disk > 0
