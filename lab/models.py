#!/usr/bin/env python3
"""Create the lab's three tiny Qwen2 models, one per agent, in about a second and without training.

    models.py FOLDER [--is-made]

A real vLLM loads and serves them like any other model. Each agent's model follows its own random sequence of words. Its
head prefers one next word after each word, and ends the answer after the last word. An answer therefore consists of
readable words, identifies its agent, and is always the same at temperature 0. At a higher temperature the answer leaves
the sequence, because the other tokens have a share of the probability. All other weights are random.

The vocabulary is learned from the Python language reference, which ships with Python. Run the program with the Python
of the engine's environment, which has numpy, tokenizers and jinja2.
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
MADE_FROM = "made-from"  # the file beside the models with the hash of this code
CONTEXT_TOKENS = 4096  # max_position_embeddings: the largest max_model_len of a lab agent
HIDDEN, WIDE, LAYERS, HEADS, KEY_HEADS = 192, 512, 3, 4, 2
TEXT_CHARACTERS = 100_000  # of the reference: enough for the words of the vocabulary
END = SPECIAL.index("<|im_end|>")
# Logits; all other tokens have logits near 0. The next word of the walk has nearly all of the probability, and a tenth
# of it at temperature 2. After a token outside the walk, the first word follows. If a grammar forbids both words, a
# token that closes a part of JSON follows. After the last word such a token is second to the end, so that a string of
# JSON ends too.
NEXT, FIRST, CLOSING, CLOSING_LAST = 11.0, 7.0, 3.5, 9.5
CLOSING_TOKENS = ('"', "}", '"}')
WORDS = 48  # of a walk, and so of an answer in a chat
LAYER_SCALE, HEAD_SCALE = 0.03, 0.05  # of the random weights: each logit depends slightly on the whole prompt


def make_tokenizer() -> Tokenizer:
    """Return the tokenizer, learned from the language reference."""
    text = "\n\n".join(topics[name] for name in sorted(topics))
    return vocabulary.learned_from([text[:TEXT_CHARACTERS]])


def walk(tokenizer: Tokenizer, random: np.random.Generator) -> list[int]:
    """Return the words of an agent's walk."""
    # A word begins with a blank, which byte-level BPE encodes as this letter.
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
    embedded = random.choice([-1.0, 1.0], (vocabulary.SIZE, HIDDEN))  # of equal length and almost orthogonal
    head = random.normal(0.0, HEAD_SCALE, (vocabulary.SIZE, HIDDEN))
    words = walk(tokenizer, random)
    for before, after in zip(words, [*words[1:], END], strict=True):
        head[after] += embedded[before] * (NEXT / HIDDEN)
    closing = [number for text in CLOSING_TOKENS if (number := tokenizer.token_to_id(text)) is not None]
    head[closing] += embedded[words[-1]] * ((CLOSING_LAST - CLOSING) / HIDDEN)
    # This component is the same for all tokens, so a head's row has here the logit of its token after any other.
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
    """Return a hash of the code that creates the models."""
    code = (__file__, checkpoint.__file__, vocabulary.__file__)
    return hashlib.sha256(b"".join(Path(path).read_bytes() for path in code)).hexdigest()


def is_made(folder: Path) -> bool:
    """Return whether this code created the folder's models."""
    note = folder / MADE_FROM
    return note.is_file() and note.read_text() == origin()


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write the models, one folder per agent")
    parser.add_argument("--is-made", action="store_true", help="exit with 0 if the models exist, else with 1")
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
