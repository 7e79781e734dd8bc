"""Load one endpoint by vLLM's own `vllm bench serve`, in the environment of the engine on the host or in its image."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

from ..errors import RoundhouseError
from ..plan import accounts
from ..plan.compose import PIDS, TMP
from ..schema.plan import Agent, Plan
from ..util import process
from ..vllm import options
from .target import Target

# Enough requests that the last ones, which run with fewer in parallel, have little weight.
_TIMES_PARALLEL = 4
_FEWEST_REQUESTS = 8
MILLI, MINUTE_SECONDS = 1000.0, 60.0

Figure = Literal["ttft_seconds", "tokens_per_second_each", "tokens_per_second", "requests_per_minute"]


class Level(TypedDict):
    """The figures of one number of requests in parallel; None where nothing was measured."""

    parallel: int
    requests: int
    failed: int
    error: str | None  # the last line of the first error
    seconds: float
    ttft_seconds: float | None  # median
    ttft_p99_seconds: float | None
    tokens_per_second_each: float | None  # of one request, after its first token
    tokens_per_second: float
    requests_per_minute: float
    # Shorter than requested where the endpoint ignores ignore_eos: its requests per minute then do not compare.
    tokens_each: float | None


class Tool(NamedTuple):
    """The environment of the engine or its image, the folder of the agent's tokenizer, and the engine's account."""

    engine: Path | None
    image: str | None
    tokenizer: str
    account: str

    def run(self, words: list[str], folder: Path, own: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run vllm with these arguments and variables and return its end; it may write into `folder`.

        A container gets the variables by their names, so that a list of processes does not show a key.
        """
        if self.engine:
            command = [str(self.engine / "bin/vllm")]
        else:
            command = [
                "docker",
                "run",
                "--rm",
                "--network=host",
                *_confined(folder, self.account),
                f"--volume={folder}:{folder}",
            ]
            command += [f"--volume={self.tokenizer}:{self.tokenizer}:ro", *(f"--env={name}" for name in own)]
            command += ["--entrypoint=vllm", str(self.image)]
        return process.run([*command, *words], env=os.environ | own)


def _confined(folder: Path, account: str) -> list[str]:
    """Return the options of a container that confine the tool as an engine, and give its account the folder."""
    user, group = os.getuid(), os.getgid()
    if user == 0:
        with contextlib.suppress(KeyError):  # the roles have not created it: the container's root has no capability
            found = pwd.getpwnam(account)
            user, group = found.pw_uid, found.pw_gid
            os.chown(folder, user, group)
    limits = [f"--user={user}:{group}", f"--env=USER={account}", f"--pids-limit={PIDS}"]
    return [*limits, "--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only", f"--tmpfs={TMP}:exec"]


def of(plan: Plan, agent: Agent) -> Tool:
    """Return the tool of the deployed engine. Raises RoundhouseError if it is missing."""
    engine, account = Path(plan["engine_path"]), accounts.account(agent["name"])
    if (engine / "bin/vllm").exists():
        return Tool(engine, None, agent["model_path"], account)
    if plan.get("image"):
        return Tool(None, plan["image"], agent["model_path"], account)
    raise RoundhouseError(
        "bench_tool_missing",
        "{program}, which measures, does not exist.",
        "Deploy again.",
        program=f"{engine}/bin/vllm",
    )


def last_line(text: str) -> str | None:
    """Return the last line that is not empty: of a traceback, the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else None


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line of the tool and its exit status."""
    return f"{last_line(done.stdout + done.stderr) or 'no output'} (exit status {done.returncode})"


class Load(NamedTuple):
    """Random prompts of `input_tokens`, answers of `output_tokens`, at each number of parallel requests."""

    input_tokens: int
    output_tokens: int
    parallel: tuple[int, ...]
    requests: int | None = None

    def requests_at(self, parallel: int) -> int:
        """Return how many requests are sent at a level."""
        return self.requests or max(_FEWEST_REQUESTS, _TIMES_PARALLEL * parallel)


def run(tool: Tool, load: Load, parallel: int, seed: int, target: Target) -> Level:
    """Return the figures of one level. Raises RoundhouseError if the tool ends without a result."""
    with tempfile.TemporaryDirectory(prefix="roundhouse-bench-") as folder:
        result = Path(folder, "result.json")
        lengths = (load.input_tokens, load.output_tokens)
        many = (parallel, load.requests_at(parallel), seed)
        asked = options.Bench(target.url, target.model, tool.tokenizer, *lengths, *many)
        done = tool.run(options.bench(asked, result), Path(folder), _environment(target, folder))
        if done.returncode != 0 or not result.exists():
            raise RoundhouseError(
                "bench_failed",
                "vllm bench serve on {url} failed: {why}.",
                "Check that the endpoint answers, then run the command again.",
                url=target.url,
                why=failure(done),
            )
        return figures(json.loads(result.read_text()), parallel)


def figures(told: dict[str, Any], parallel: int) -> Level:
    """Return the figures of the tool's result, in seconds and under the names of Level."""
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
        "tokens_per_second_each": round(MILLI / each_ms, 1) if each_ms else None,
        "tokens_per_second": round(told["output_throughput"], 1),
        "requests_per_minute": round(told["request_throughput"] * MINUTE_SECONDS, 1),
        "tokens_each": round(told["total_output_tokens"] / done, 1) if done else None,
    }


def _environment(target: Target, home: str) -> dict[str, str]:
    own = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    # The tool writes nothing into the caller's home, and does not get the caller's own key.
    return own | {"HOME": home, "VLLM_CACHE_ROOT": home, "OPENAI_API_KEY": target.key or ""}
