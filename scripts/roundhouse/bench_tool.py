"""Where `vllm bench serve` and Pillow are: in the engine's environment on the host, or in its image."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from .errors import RoundhouseError
from .plan import Agent, Plan


class Tool(NamedTuple):
    """The engine's environment (`engine`), or the image that has it; and the folder of the agent's tokenizer."""

    engine: Path | None
    image: str | None
    tokenizer: str

    def run(
        self, program: str, words: list[str], folder: Path, own: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run vllm or python with words, which may write into `folder`, with these variables; return how it ended.

        Variables go by their names into a container, so that a key stands in no list of processes.
        """
        if self.engine:
            command = [str(self.engine / "bin" / program)]
        else:
            command = ["docker", "run", "--rm", "--network=host", f"--volume={folder}:{folder}"]
            command += [f"--volume={place}:{place}:ro" for place in (self.tokenizer, _package())]
            command += [f"--env={name}" for name in own]
            command += [f"--entrypoint={'python3' if program == 'python' else program}", str(self.image)]
        return subprocess.run([*command, *words], env=os.environ | own, capture_output=True, text=True, check=False)

    def draw(self, result: Path, picture: Path) -> None:
        """Draw the picture of a result. Raises RoundhouseError."""
        words = ["-m", "roundhouse.bench_picture", str(result), str(picture)]
        done = self.run("python", words, result.parent, {"PYTHONPATH": str(_package())})
        if done.returncode != 0:
            raise RoundhouseError("bench", f"{result} is written, and its picture failed: {last_line(done.stderr)}.")


def of(plan: Plan, agent: Agent) -> Tool:
    """Return the deployed engine's. Raises RoundhouseError where there is none to measure with."""
    engine = Path(plan["engine_path"])
    if (engine / "bin/vllm").exists():
        return Tool(engine, None, agent["model_path"])
    if plan.get("image"):
        return Tool(None, plan["image"], agent["model_path"])
    raise RoundhouseError("bench", f"{engine}/bin/vllm is not there, and the measuring is its own: deploy again.")


def last_line(text: str) -> str | None:
    """Return the last line that says something: of a traceback, what it is about."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else None


def _package() -> Path:
    return Path(__file__).resolve().parents[1]


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """Return how a run of the tool ended, in its own last words."""
    return f"{last_line(done.stdout + done.stderr) or 'it said nothing'} (exit status {done.returncode})"
