#!/usr/bin/env python3
"""Train the lab's three tiny Qwen2 models, one per agent, in about half a minute each.

A real vLLM loads and serves them like any other model; only their size is a toy. Each agent
learns from different text, so that an answer shows which agent wrote it:

    architect   the Python language reference   (pydoc_data.topics, ships with Python)
    dev         the standard library's source   (ships with Python)
    po          user stories                    (lab/text/stories.md, ships with this project)

Run it with the Python of the engine's environment: it needs torch, transformers, tokenizers.
Each model is written beside its final name and renamed once it has been read back.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import shutil
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
STORIES = HERE / "text" / "stories.md"
MADE_FROM = "made-from"  # the file beside the models that says which script and text they come from
VOCAB_SIZE = 1536
CONTEXT_TOKENS = 4096  # max_position_embeddings: the longest max_model_len a lab agent may ask for
BATCH, BLOCK = 8, 128  # sequences per step, tokens per sequence
LEARNING_RATE = 4e-3
# About half a minute for each model on two cores.
STEPS = 300
# So few that a model this small learns them well in the time it has.
PARAGRAPHS = 90
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# The stock ChatML template of Qwen2.5, without tools: what the engine applies to /v1/chat/completions.
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def texts() -> dict[str, list[str]]:
    """Return the training paragraphs of each agent."""
    from pydoc_data.topics import topics

    stdlib = Path(sysconfig.get_path("stdlib"))
    prose = [p for name in sorted(topics) for p in topics[name].split("\n\n")]
    code = [p for name in ("heapq", "queue", "textwrap", "statistics") for p in _blocks(stdlib / f"{name}.py")]
    return {
        "architect": _some([" ".join(p.split()) for p in prose if p[0:1].isupper() and p.rstrip().endswith(".")]),
        "dev": _some(code),
        "po": _some([p for p in STORIES.read_text().split("\n\n") if p.startswith("As ")]),
    }


def _blocks(path: Path) -> list[str]:
    """Return the functions and classes of a source file, as far as a training block reaches."""
    return ["def " + block.split("\n\n\n")[0] for block in path.read_text().split("\ndef ")[1:]]


def _some(paragraphs: list[str]) -> list[str]:
    return [p[:400] for p in paragraphs if len(p) > 80][:PARAGRAPHS]


def make_tokenizer(paragraphs: list[str]):
    """Return a byte-level BPE tokenizer of VOCAB_SIZE words learnt from the paragraphs."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(paragraphs, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=CONTEXT_TOKENS
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def chats(paragraphs: list[str], tokenizer) -> Callable[[], list[int]]:
    """Return what draws a training sequence: the paragraphs as answers in a chat, one after the other."""
    rng = random.Random(0)
    head, end = tokenizer.encode("<|im_start|>assistant\n"), tokenizer.convert_tokens_to_ids("<|im_end|>")
    answers = [head + tokenizer.encode(p) + [end] for p in paragraphs]

    def draw() -> list[int]:
        ids: list[int] = []
        while len(ids) < BLOCK:
            ids += rng.choice(answers)
        return ids[:BLOCK]

    return draw


def train(draw: Callable[[], list[int]], tokenizer, steps: int):
    """Return a Qwen2 model trained for so many steps on sequences of BLOCK tokens, as `draw` returns them."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    end, start = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|im_start|>"])
    config = Qwen2Config(
        vocab_size=VOCAB_SIZE,
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
    """Save under a temporary name, read it back, rename."""
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


def origin() -> str:
    """Return a hash of what the models are made from."""
    return hashlib.sha256(Path(__file__).read_bytes() + STORIES.read_bytes()).hexdigest()


def is_made(folder: Path) -> bool:
    """Return whether the folder's models are those of this script and text."""
    note = folder / MADE_FROM
    return note.is_file() and note.read_text() == origin()


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the models are put, a folder per agent")
    parser.add_argument("--steps", type=int, default=STEPS, help="of training for each model (default: %(default)s)")
    parser.add_argument("--is-made", action="store_true", help="only say, by the exit status, whether they are there")
    args = parser.parse_args(argv)
    if args.is_made or is_made(args.folder):
        return 0 if is_made(args.folder) else 1
    corpus = texts()
    tokenizer = make_tokenizer([p for paragraphs in corpus.values() for p in paragraphs])
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, paragraphs in corpus.items():
        print(f"training {name} on {len(paragraphs)} paragraphs", flush=True)
        write(train(chats(paragraphs, tokenizer), tokenizer, args.steps), tokenizer, args.folder / name)
    (args.folder / MADE_FROM).write_text(origin())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
