"""List the model classes that the formulas cover, by the names in config.json's `architectures`."""

from __future__ import annotations

from typing import NamedTuple


class Class(NamedTuple):
    """Describe what config.json does not state about a class. `bias` None: the field attention_bias states it.

    `experts`: the fields of experts count. `states`: layers with a recurrent state. `window`: a sliding window in some
    layers. `latent`: MLA. `vision`: an image encoder, by its layout in hf_vision. `tied`: the default of
    tie_word_embeddings. `own_norms`: the norms beside attention and block in each layer.
    """

    qk_norm: bool = False
    bias: bool | None = None
    experts: bool = False
    states: bool = False
    window: bool = False
    latent: bool = False
    vision: str | None = None
    tied: bool = False


_QWEN35 = Class(qk_norm=True, states=True)
CLASSES = {
    "Qwen2ForCausalLM": Class(bias=True),
    "Qwen3ForCausalLM": Class(qk_norm=True),
    "LlamaForCausalLM": Class(),
    "MistralForCausalLM": Class(),
    "Ministral3ForCausalLM": Class(),
    "Phi3ForCausalLM": Class(),
    "GraniteForCausalLM": Class(),
    "SeedOssForCausalLM": Class(),
    "Gemma3ForCausalLM": Class(qk_norm=True, window=True, tied=True),
    "Gemma4ForCausalLM": Class(qk_norm=True, window=True, experts=True, tied=True),
    "Qwen2MoeForCausalLM": Class(bias=True, experts=True),
    "Qwen3MoeForCausalLM": Class(qk_norm=True, experts=True),
    "MixtralForCausalLM": Class(experts=True),
    "MiniMaxM2ForCausalLM": Class(qk_norm=True, experts=True),
    "Glm4MoeForCausalLM": Class(experts=True),
    "GptOssForCausalLM": Class(bias=True, experts=True, window=True),
    "DeepseekV2ForCausalLM": Class(experts=True, latent=True),
    "DeepseekV3ForCausalLM": Class(experts=True, latent=True),
    "Glm4MoeLiteForCausalLM": Class(experts=True, latent=True),
    "Qwen3NextForCausalLM": Class(qk_norm=True, experts=True, states=True),
    "Qwen3_5ForCausalLM": _QWEN35,
    "Qwen3_5MoeForCausalLM": _QWEN35._replace(experts=True),
    "NemotronHForCausalLM": Class(experts=True, states=True),
    "Qwen2VLForConditionalGeneration": Class(bias=True, vision="qwen2"),
    "Qwen2_5_VLForConditionalGeneration": Class(bias=True, vision="qwen2.5"),
    "Qwen3VLForConditionalGeneration": Class(qk_norm=True, vision="qwen3"),
    "Qwen3VLMoeForConditionalGeneration": Class(qk_norm=True, experts=True, vision="qwen3"),
    "Qwen3_5ForConditionalGeneration": _QWEN35._replace(vision="qwen3"),
    "Qwen3_5MoeForConditionalGeneration": _QWEN35._replace(experts=True, vision="qwen3"),
    "Gemma3ForConditionalGeneration": Class(qk_norm=True, window=True, vision="siglip", tied=True),
    "Gemma4ForConditionalGeneration": Class(qk_norm=True, window=True, experts=True, vision="gemma4", tied=True),
    "Mistral3ForConditionalGeneration": Class(vision="pixtral"),
}
# Fields of config.json that change an engine's memory in a way that no formula covers.
UNCOVERED_FIELDS = (
    "index_topk",
    "audio_config",
    "num_attention_heads_per_layer",
    "compress_ratios",
    "rswa_window",
    "n_gram_table_size",
    "block_configs",
    "attention_chunk_size",
)
