"""The tokenizer of the lab's tiny models: byte-level BPE, learned from the model's own text."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SIZE = 1536  # tokens
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# The stock ChatML template of Qwen2.5 without tools, which the engine applies to /v1/chat/completions.
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def learned_from(texts: Iterable[str]) -> Tokenizer:
    """Return a tokenizer of SIZE tokens; the tokens of SPECIAL have the ids 0, 1 and 2."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    return bpe
