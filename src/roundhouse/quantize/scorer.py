"""Score a model: start vLLM with it, read the log-probabilities of the held-out tokens, and stop vLLM."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RoundhouseError
from ..util.units import GIB
from ..vllm import options
from ..vllm.client import Engine
from .quality import LIKELIEST, Position, positions

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.cards import Card
    from roundhouse.schema.plan import EngineConfig
    from roundhouse.schema.roster import Served

NAME = "scored"
HOST = "127.0.0.1"
WINDOW_TOKENS, WINDOWS = 256, 16
START_SECONDS = 900
# An answer contains the log-probabilities of a window, or the tokens of all texts.
LARGEST_BYTES = 256 << 20
# The share of the card for the engine, and its memory besides the weights (an upper bound, not measured).
CARD_SHARE, BESIDE_GIB = 0.9, 3.0


class Scorer:
    """Score models with an engine on a card (gpu.facts) or the CPU.

    `offload_gib` is the amount of weights to keep in the host's memory; None keeps as much there as needed.
    """

    def __init__(
        self, engine_path: str, accelerator: str, offload_gib: float | None = None, card: Card | None = None
    ) -> None:
        self.engine_path, self.accelerator = engine_path, accelerator
        self.offload_gib, self.card = offload_gib, card

    def score(self, folder: Path, texts: list[str], cache: Path) -> list[Position]:
        """Return the model's log-probabilities for the texts' tokens. Raises RoundhouseError.

        vLLM keeps in `cache` what it finds out about an architecture, for which it starts a third process.
        """
        found: list[Position] = []
        with self._served(folder, cache) as engine:
            for tokens in self._windows(engine, texts):
                body = {
                    "model": NAME,
                    "prompt": tokens,
                    "max_tokens": 1,
                    "temperature": 0,
                    "prompt_logprobs": LIKELIEST,
                }
                answer = engine.ask("/v1/completions", body, 600, LARGEST_BYTES)
                found += positions(answer["choices"][0]["prompt_logprobs"], tokens)
        return found

    def _windows(self, engine: Engine, texts: list[str]) -> list[list[int]]:
        """Return the texts as windows of tokens, split by the served model's tokenizer."""
        prompt = {"model": NAME, "prompt": "\n".join(texts), "add_special_tokens": False}
        tokens = engine.ask("/tokenize", prompt, 60, LARGEST_BYTES)["tokens"]
        starts = range(0, len(tokens) - WINDOW_TOKENS + 1, WINDOW_TOKENS)
        return [tokens[start : start + WINDOW_TOKENS] for start in starts][:WINDOWS]

    @contextmanager
    def _served(self, folder: Path, cache: Path) -> Iterator[Engine]:
        with tempfile.TemporaryDirectory(prefix="roundhouse-scorer-") as work:
            port = _free_port()
            config = Path(work) / "vllm.yaml"
            config.write_text(json.dumps(self._config(folder, port)))  # JSON is YAML
            log = Path(work) / "log"
            card = self.card["uuid"] if self.card else None
            environment = {
                **os.environ,
                **options.environment(self.accelerator, [card or 0], START_SECONDS),
                **options.caches(str(cache), self.accelerator),
            }
            # vLLM also compiles code to rank log-probabilities, which needs a C++ compiler that a host may lack.
            environment["TORCHDYNAMO_DISABLE"] = "1"
            with log.open("wb") as out:
                process = subprocess.Popen(
                    [f"{self.engine_path}/bin/vllm", "serve", "--config", str(config)],
                    stdout=out,
                    stderr=out,
                    env=environment,
                    start_new_session=True,
                )
            try:
                engine = Engine(HOST, port)
                _wait(engine, process)
                yield engine
            except RoundhouseError as error:
                raise RoundhouseError(
                    "scoring_engine_failed",
                    "The engine on {folder} failed: {reason} {log}",
                    folder=str(folder),
                    reason=error.text,
                    log=_reason(log),
                ) from None
            finally:
                _stop(process)

    def _config(self, folder: Path, port: int) -> EngineConfig:
        agent: Served = {"name": NAME, "temperature": 0.0, "top_p": 1.0}
        decided: options.Limits = {
            "max_model_len": 2 * WINDOW_TOKENS,
            "gpu_memory_utilization": CARD_SHARE,
            "quantization": None,
            "kv_cache_dtype": "auto",
            "max_num_seqs": 4,
            "max_num_batched_tokens": 2 * WINDOW_TOKENS,
            "gpus": [0],
        }
        place = options.Place(accelerator=self.accelerator, host=HOST, port=port, model_path=str(folder))
        made = options.config(agent, decided, place, eager=True)
        # Only the quality gate requests log-probabilities.
        made |= {"max-logprobs": LIKELIEST}
        offload = self._offloaded_gib(folder)
        return made | ({"cpu-offload-gb": offload} if offload else {})

    def _offloaded_gib(self, folder: Path) -> float:
        """Return the GiB of weights to keep in the host's memory: a 16-bit base may be too large for the card."""
        card_gib = self.card["memory_gib"] if self.card else None
        if self.offload_gib is not None or card_gib is None:
            return self.offload_gib or 0.0
        weights_gib = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / GIB
        return max(0.0, math.ceil(weights_gib + BESIDE_GIB - CARD_SHARE * card_gib))


def _wait(engine: Engine, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not engine.healthy():
        if process.poll() is not None:
            raise RoundhouseError("engine_exited", "It exited before it was ready.")
        if time.monotonic() > deadline:
            raise RoundhouseError("start_timeout", "It was not ready after {seconds} s.", seconds=START_SECONDS)
        time.sleep(0.5)


def _reason(log: Path) -> str:
    """Return the first error of the engine's log, because later errors are its consequences.

    vLLM's advice about the limit of open files looks like an error and is ignored.
    """
    errors = re.findall(r"\b\w*Error: (?!.*Consider increasing with ulimit).*", log.read_text(errors="replace"))
    return f"Its log: {errors[0].strip()}" if errors else "Its log contains no error."


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the engine and its child processes, so that none uses the card."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
