#!/usr/bin/env python3
"""Train a tiny Qwen2 model as a base to quantize, on plain text, so that its perplexity on other text is meaningful.

quantize_base.py FOLDER [STEPS]       with the Python of the engine's environment

The text is the calibration half of the gate's texts and the standard library's documentation strings. The held-out half
is not part of it. A base that was trained from the same code and text is kept.
"""

from __future__ import annotations

import ast
import hashlib
import math
import random
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import vocabulary

from roundhouse.quantize import texts

STEPS = 900  # about 90 seconds
CONTEXT_TOKENS = 4096
BATCH, BLOCK = 8, 128  # sequences per step, tokens per sequence
LEARNING_RATE = 4e-3


def documentation() -> list[str]:
    """Return the longer documentation strings of the standard library."""
    found = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found.append(" ".join((ast.get_docstring(node) or "").split()))
    return [text for text in dict.fromkeys(found) if len(text) >= texts.SHORTEST]


def windows(paragraphs: list[str], tokenizer) -> Callable[[], list[int]]:
    """Return a function that draws a training sequence: BLOCK tokens from a random place of the text."""
    rng = random.Random(0)
    rng.shuffle(paragraphs)
    ids = tokenizer.encode("\n".join(paragraphs))

    def draw() -> list[int]:
        begin = rng.randrange(len(ids) - BLOCK)
        return ids[begin : begin + BLOCK]

    return draw


def make_tokenizer(paragraphs: list[str]):
    """Return the tokenizer learned from the paragraphs, as an object of transformers."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=vocabulary.learned_from(paragraphs),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=CONTEXT_TOKENS,
    )
    tokenizer.chat_template = vocabulary.CHAT_TEMPLATE
    return tokenizer


def train(draw: Callable[[], list[int]], tokenizer, steps: int):
    """Return a Qwen2 model, trained for `steps` steps on sequences of BLOCK tokens that `draw` returns."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    # One thread trains the same model on a busy machine as on an idle one.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    end, start = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|im_start|>"])
    config = Qwen2Config(
        vocab_size=vocabulary.SIZE,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=start,
        eos_token_id=end,
    )
    model = Qwen2ForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    begun, loss = time.monotonic(), math.nan
    for step in range(steps):  # counted, not timed: a busy machine makes the same model, later
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / steps)) + 1e-5
        batch = torch.tensor([draw() for _ in range(BATCH)])
        out = model(input_ids=batch, labels=batch)
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        loss = out.loss.item()
    print(f"  {steps} steps in {time.monotonic() - begun:.0f} s, loss {loss:.2f}", flush=True)
    return model.to(torch.bfloat16)


def write(model, tokenizer, target: Path) -> None:
    """Save the model under a temporary name, load it as a check, and rename the folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    partial = target.with_name(target.name + ".partial")
    for leftover in (partial, target):
        if leftover.exists():
            shutil.rmtree(leftover)
    model.save_pretrained(partial, safe_serialization=True)
    tokenizer.save_pretrained(partial)
    AutoTokenizer.from_pretrained(partial)
    AutoModelForCausalLM.from_pretrained(partial)
    for file in partial.iterdir():  # the engine runs as another user
        file.chmod(0o644)
    partial.rename(target)


def main() -> None:
    """Train and write the model, with a note beside it of the hash of its inputs."""
    folder, steps = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else STEPS
    judged_by = texts.read(None)
    code = Path(__file__).read_bytes() + Path(vocabulary.__file__).read_bytes()
    origin = f"{hashlib.sha256(code).hexdigest()} {judged_by.sha256} {steps}"
    note = folder.with_name(f"{folder.name}.made-from")
    if folder.exists() and note.exists() and note.read_text() == origin:
        print("the base is up to date", flush=True)
        return
    paragraphs = judged_by.calibration + [text for text in documentation() if text not in set(judged_by.held_out)]
    tokenizer = make_tokenizer(paragraphs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    write(train(windows(paragraphs, tokenizer), tokenizer, steps), tokenizer, folder)
    note.write_text(origin)


if __name__ == "__main__":
    main()
