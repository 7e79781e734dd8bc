#!/usr/bin/env python3
"""Make the lab's three tiny Qwen2 models, one per agent, in about a second: nothing is trained.

    models.py FOLDER [--is-made]

A real vLLM loads and serves them like any other model. Each is a random walk through words, another one for each
agent: the head of the model prefers one next word after each word, and ends the answer after the last. So an answer
consists of readable words, shows which agent gave it, and is the same each time at temperature 0. A higher temperature
leaves the walk, because the other tokens have a share of the probability too. Everything else is random.

The vocabulary is that of the Python language reference, which ships with Python. Run it with the Python of the
engine's environment, which has numpy, tokenizers and jinja2.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import checkpoint
import numpy as np
import vocabulary
from checkpoint import Checkpoint
from tokenizers import Tokenizer
from vocabulary import CHAT_TEMPLATE, SPECIAL

AGENTS = ("architect", "dev", "po")
MADE_FROM = "made-from"  # the file beside the models that says which code they come from
CONTEXT_TOKENS = 4096  # max_position_embeddings: the longest max_model_len a lab agent may ask for
HIDDEN, WIDE, LAYERS, HEADS, KEY_HEADS = 192, 512, 3, 4, 2
TEXT_CHARACTERS = 100_000  # of the reference: enough for the words of the vocabulary
END = SPECIAL.index("<|im_end|>")
# Logits; all other tokens have some around 0. The next word of the walk has nearly all of the probability, and a tenth
# at temperature 2. The first word comes after all that is no word of the walk. Where a grammar forbids both, it is what
# closes a part of JSON, and after the last word that comes second to the end: a string of JSON has its end too.
NEXT, FIRST, CLOSING, CLOSING_LAST = 11.0, 7.0, 3.5, 9.5
CLOSING_TOKENS = ('"', "}", '"}')
WORDS = 48  # of a walk: an answer in a chat has so many
LAYER_SCALE, HEAD_SCALE = 0.03, 0.05  # of the random weights: a little of each logit depends on the whole prompt


def make_tokenizer() -> Tokenizer:
    """Return the tokenizer, learned from the language reference."""
    text = "\n\n".join(topics[name] for name in sorted(topics))
    return vocabulary.learned_from([text[:TEXT_CHARACTERS]])


def walk(tokenizer: Tokenizer, random: np.random.Generator) -> list[int]:
    """Return the words of an agent's walk."""
    # A word begins with a blank, which byte-level BPE writes as this letter.
    words = [
        word
        for word in sorted(tokenizer.get_vocab())
        if word[0] == "\u0120" and word[1:].isascii() and word[1:].isalpha()
    ]
    chosen = random.permutation([word for word in words if len(word) > 3])[:WORDS]
    return [tokenizer.token_to_id(word) for word in chosen]


def tensors(tokenizer: Tokenizer, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the weights of an agent's model."""
    random = np.random.default_rng(seed)
    embedded = random.choice([-1.0, 1.0], (vocabulary.SIZE, HIDDEN))  # all of one length, almost at right angles
    head = random.normal(0.0, HEAD_SCALE, (vocabulary.SIZE, HIDDEN))
    words = walk(tokenizer, random)
    for before, after in zip(words, [*words[1:], END], strict=True):
        head[after] += embedded[before] * (NEXT / HIDDEN)
    closing = [number for text in CLOSING_TOKENS if (number := tokenizer.token_to_id(text)) is not None]
    head[closing] += embedded[words[-1]] * ((CLOSING_LAST - CLOSING) / HIDDEN)
    # Every token has the same there, so a row of the head has there what its token gets after any other.
    embedded[:, 0], head[:, 0] = 1.0, 0.0
    head[words[0], 0] = FIRST
    head[closing, 0] = CLOSING
    for name, shape in checkpoint.expected(config()).items():
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            yield name, embedded if "embed" in name else head
        elif len(shape) == 1:
            yield name, np.zeros(shape) if name.endswith(".bias") else np.ones(shape)
        else:
            yield name, random.normal(0.0, LAYER_SCALE, shape)


def config() -> dict[str, Any]:
    """Return the configuration, which is the same for all agents."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "vocab_size": vocabulary.SIZE,
        "hidden_size": HIDDEN,
        "intermediate_size": WIDE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "max_position_embeddings": CONTEXT_TOKENS,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "bos_token_id": SPECIAL.index("<|im_start|>"),
        "eos_token_id": END,
        "pad_token_id": SPECIAL.index("<|endoftext|>"),
    }


def origin() -> str:
    """Return a hash of what the models are made from."""
    code = (__file__, checkpoint.__file__, vocabulary.__file__)
    return hashlib.sha256(b"".join(Path(path).read_bytes() for path in code)).hexdigest()


def is_made(folder: Path) -> bool:
    """Return whether the folder's models are those of this code."""
    note = folder / MADE_FROM
    return note.is_file() and note.read_text() == origin()


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the models are put, a folder per agent")
    parser.add_argument("--is-made", action="store_true", help="only say, by the exit status, whether they are there")
    args = parser.parse_args(argv)
    if args.is_made or is_made(args.folder):
        return 0 if is_made(args.folder) else 1
    tokenizer = make_tokenizer()
    for seed, name in enumerate(AGENTS):
        made = Checkpoint(config(), tokenizer, CHAT_TEMPLATE, tensors(tokenizer, seed))
        checkpoint.write(made, args.folder / name)
    (args.folder / MADE_FROM).write_text(origin())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
