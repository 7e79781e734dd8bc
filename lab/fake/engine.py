"""The fake engine behind its API: the model, the running requests, the tokens at its speed, and /metrics."""

from __future__ import annotations

import argparse
import collections
import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import text
from text import Sampling, Token

REASONS = ("stop", "length", "abort", "error")  # vLLM's finish reasons
LONG_PROMPT_WORDS = 100  # the prompts of the watchdog and the canary are shorter


class Engine:
    """The state of the engine: its model, its requests, and its injected faults."""

    def __init__(
        self, config: dict[str, str], defaults: dict[str, float], faults: argparse.Namespace, version: str
    ) -> None:
        self.version, self.defaults = version, defaults
        self.name = config["served-model-name"] + ("-other" if faults.wrong_name else "")
        self.model = config["model"]
        self.address = (config["host"], int(config["port"]))
        self.max_model_len = int(config.get("max-model-len", 4096))
        self.shutdown_seconds = float(config.get("shutdown-timeout", 0))
        self.chooses_tools = "tool-call-parser" in config
        self.slots = threading.Semaphore(int(config.get("max-num-seqs", 256)))
        self.faults = faults
        self.lock = threading.Lock()
        self.running = self.waiting = self.generated = self.prompted = 0
        self.finished = collections.Counter(dict.fromkeys(REASONS, 0))
        self.prefixes = text.PrefixCache()
        self.numbers = itertools.count()  # of the requests
        self.dead = self.draining = False
        self.crashed = threading.Event()
        self.looks = self.read_until = 0  # requests for /metrics so far, and the one at which a long prompt is read
        self.told = ""
        self.role: Callable[[str, bytes], bytes | None] | None = None  # adds the defaults of the role to a body

    def tokens(self, prompt: str, sampling: Sampling, choice: int) -> Iterator[Token | None]:
        """Yield the tokens of one choice at the engine's speed, the last with its reason; None while it waits.

        The tokens depend only on the model, the prompt and the sampling.
        """
        other = "x" if self.faults.answer_differently else ""
        salt = sampling.salt(next(self.numbers), choice)
        digest = hashlib.sha256(f"{self.model}{other}{prompt}{salt}".encode()).digest()
        said = ""
        for place in range(sampling.tokens):
            time.sleep(1 / self.faults.tokens_per_second)
            while self.faults.answer_while and Path(self.faults.answer_while).exists():
                time.sleep(0.02)
                yield None
            number, word = (0, "!") if self.faults.rubbish else text.word(digest, place)
            said += word
            ends = [at for at in (said.find(each) for each in sampling.stop) if at >= 0]
            if ends:
                yield Token(number, word[: max(0, len(word) - len(said) + min(ends))], "stop")
                return
            yield Token(number, word, "length" if place + 1 == sampling.tokens else None)

    def wait_for_core(self) -> None:
        """Wait while the core is stopped."""
        while self.core_is_stopped():
            time.sleep(0.02)

    def core_is_stopped(self) -> bool:
        """Return whether the core is stopped, so that only the API answers."""
        return bool(self.faults.core_stopped_while) and Path(self.faults.core_stopped_while).exists()

    def read(self, words: int) -> Iterator[None]:
        """Read a long prompt in steps, which only the use of the KV cache shows, as in vLLM; yield while waiting.

        Each request for /metrics advances one step, so that each request sees another number on any machine.
        """
        if not self.faults.read_looks or words < LONG_PROMPT_WORDS:
            return
        self.read_until = self.looks + self.faults.read_looks
        try:
            while self.looks < self.read_until:
                time.sleep(0.02)
                yield
            print(f"a prompt of {words} words was read in {self.faults.read_looks} steps", flush=True)
        finally:  # also after the client disconnected
            self.read_until = 0

    def metrics(self) -> str:
        """Return the text of /metrics, which has the core's last values."""
        if not self.core_is_stopped():
            self.looks += 1
            self.told = self._metrics()
        return self.told

    def _metrics(self) -> str:
        label = f'{{engine="0",model_name="{self.name}"}}'
        left = max(0, self.read_until - self.looks)  # steps of a long prompt
        read = 0.1 * (1 - left / self.faults.read_looks) if left else 0.0
        use = min(1.0, 0.05 * self.running + read) if self.faults.kv_use is None else self.faults.kv_use
        seconds = self.generated / self.faults.tokens_per_second
        ended = "".join(
            f'vllm:request_success_total{{engine="0",finished_reason="{reason}",model_name="{self.name}"}} {count}.0\n'
            for reason, count in self.finished.items()
        )
        return f"# TYPE vllm:request_success_total counter\n{ended}" + "".join(
            f"# TYPE vllm:{name} {kind}\nvllm:{name}{label} {value}\n"
            for name, kind, value in (
                ("num_requests_running", "gauge", float(self.running)),
                ("num_requests_waiting", "gauge", float(self.waiting)),
                ("kv_cache_usage_perc", "gauge", use),
                ("generation_tokens_total", "counter", float(self.generated)),
                ("num_preemptions_total", "counter", float(self.faults.preemptions)),
                ("prompt_tokens_total", "counter", float(self.prompted)),
                ("prefix_cache_queries_total", "counter", float(self.prefixes.queries)),
                ("prefix_cache_hits_total", "counter", float(self.prefixes.hits)),
                ("inter_token_latency_seconds_sum", "histogram", seconds),
                ("inter_token_latency_seconds_count", "histogram", float(self.generated)),
            )
        )
