"""One load on one endpoint, by vLLM's own `vllm bench serve`, and what it measured."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from . import flags
from .bench_target import Target
from .bench_tool import Tool, failure, last_line
from .errors import RoundhouseError

# A level long enough that its last requests, which run with fewer beside them, weigh little.
_TIMES_PARALLEL = 4
_FEWEST_REQUESTS = 8
MILLI, MINUTE_SECONDS = 1000.0, 60.0


class Load(NamedTuple):
    """Random prompts of so many tokens, each answered with so many, at each of the numbers in parallel."""

    input_tokens: int
    output_tokens: int
    parallel: tuple[int, ...]
    requests: int | None = None

    def requests_at(self, parallel: int) -> int:
        """Return how many requests are sent at a level."""
        return self.requests or max(_FEWEST_REQUESTS, _TIMES_PARALLEL * parallel)


def run(tool: Tool, load: Load, parallel: int, seed: int, target: Target) -> dict[str, Any]:
    """Return one level's figures. Raises RoundhouseError when the tool ends without a result."""
    with tempfile.TemporaryDirectory(prefix="roundhouse-bench-") as folder:
        result = Path(folder, "result.json")
        lengths = (load.input_tokens, load.output_tokens)
        many = (parallel, load.requests_at(parallel), seed)
        asked = flags.Bench(target.url, target.model, tool.tokenizer, *lengths, *many)
        done = tool.run("vllm", flags.bench(asked, result), Path(folder), _environment(target, folder))
        if done.returncode != 0 or not result.exists():
            raise RoundhouseError("bench", f"vllm bench serve on {target.url} failed: {failure(done)}")
        return figures(json.loads(result.read_text()), parallel)


def figures(told: dict[str, Any], parallel: int) -> dict[str, Any]:
    """Return what matters of the tool's result, in seconds and by our names; None where nothing was measured."""
    done = told["completed"]
    each_ms = told["median_tpot_ms"]
    return {
        "parallel": parallel,
        "requests": done + told["failed"],
        "failed": told["failed"],
        "error": next((last_line(error) for error in told["errors"] if error), None),
        "seconds": round(told["duration"], 4),
        "ttft_seconds": round(told["median_ttft_ms"] / MILLI, 4) if done else None,
        "ttft_p99_seconds": round(told["p99_ttft_ms"] / MILLI, 4) if done else None,
        # Of one request, after its first token.
        "tokens_per_second_each": round(MILLI / each_ms, 1) if each_ms else None,
        "tokens_per_second": round(told["output_throughput"], 1),
        "requests_per_minute": round(told["request_throughput"] * MINUTE_SECONDS, 1),
        # An endpoint that ignores ignore_eos answers shorter, and its requests a minute are then no comparison.
        "tokens_each": round(told["total_output_tokens"] / done, 1) if done else None,
    }


def _environment(target: Target, home: str) -> dict[str, str]:
    own = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    # Nothing is left in the caller's home, and a key of the caller's own goes nowhere.
    return own | {"HOME": home, "VLLM_CACHE_ROOT": home, "OPENAI_API_KEY": target.key or ""}
