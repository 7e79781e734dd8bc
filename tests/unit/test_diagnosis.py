"""Doctor names one cause for what an engine said, and says that it does not know the rest."""

import json
from pathlib import Path

import pytest

from roundhouse import causes, checkup, diagnosis, manual
from roundhouse.cli import parser

LOGS = Path(__file__).resolve().parents[1] / "fixtures/logs"
# What vLLM 0.32 wrote on the lab's host when it was made to fail; the ends of its logs, long lines cut.
REAL = {
    "context-too-long-for-the-model": "context too long for the model",
    "engine-died": "engine died",
    "library-missing": "library missing",
    "model-damaged": "model damaged",
    "model-not-pulled": "model not there",
    "model-not-there": "model not there",
    "model-unknown": "model unknown to the engine",
    "no-compiler": "no compiler",
    "port-taken": "port taken",
    "slow-start": "slow start",
    "unknown-option": "unknown option",
    "unknown-variable": "unknown variable",
    "wrong-format": "wrong format",
}
# What cannot be had here, without a card: the words of vLLM's, PyTorch's, NVIDIA's and Docker's own sources.
SOURCES = {
    "ValueError: Free memory on device cuda:0 (9.12/15.47 GiB) on startup is less than desired GPU memory utilization "
    "(0.92, 14.23 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.": "memory held",
    "Failed to load model - not enough GPU memory. Try lowering --gpu-memory-utilization": "out of memory",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.": "out of memory",
    "ValueError: No available memory for the cache blocks. Try increasing": "KV cache too small",
    "ValueError: To serve at least one request with the model's max seq len (32768), (8.0 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (3.7 GiB).": "context too long for the card",
    "This model's maximum context length is 4096 tokens. However, your prompt contains": "request too long",
    "ValueError: Quantization method specified in the model config (awq) does not match the": "wrong format",
    "NVML: Driver/library version mismatch": "driver mismatch",
    "RuntimeError: The NVIDIA driver on your system is too old (found version 12040).": "driver too old",
    "RuntimeError: No CUDA GPUs are available": "no card",
    "RuntimeError: CUDA error: no kernel image is available for execution on the device": "card unknown to the engine",
    "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.": "card lost",
    'could not select device driver "" with capabilities: [[gpu]]': "container without card",
    "nvidia-container-cli: initialization error: load library failed": "container without card",
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?": (
        "container engine not running"
    ),
    "Error response from daemon: manifest unknown": "image not there",
    "OSError: [Errno 28] No space left on device: '/var/cache/roundhouse/vllm/x'": "disk full",
    "OSError: [Errno 28] No space left on device: '/dev/shm/psm_1'": "shared memory too small",
    "huggingface_hub.errors.GatedRepoError: 401 Client Error.": "model locked",
    "requests.exceptions.ConnectionError: HTTPSConnectionPool: Max retries exceeded": "download failed",
    "roundhouse-dev.service: Failed at step EXEC spawning /opt/x/bin/vllm: No such file or directory": "engine missing",
}


@pytest.mark.parametrize(("log", "cause"), REAL.items())
def test_a_log_of_the_real_engine_has_one_cause(log, cause):
    lines = (LOGS / f"{log}.log").read_text().splitlines()
    found = diagnosis.diagnose("dev", lines, exit_status=1)
    assert found.cause == cause
    assert found.evidence.strip() in "\n".join(lines)
    assert found.cure
    assert "{" not in found.cure


@pytest.mark.parametrize(("line", "cause"), SOURCES.items())
def test_a_line_from_the_sources_has_one_cause(line, cause):
    before = "(EngineCore pid=1) INFO 11-25 03:00:35 [core.py:133] Initializing a V1 LLM engine (v0.32.0)"
    found = diagnosis.diagnose("dev", [before, line])
    assert (found.cause, found.evidence) == (cause, line[:300])


@pytest.mark.parametrize(
    ("result", "cause"),
    [("timeout", "slow start"), ("oom-kill", "host out of memory"), ("start-limit-hit", "given up")],
)
def test_where_the_log_tells_nothing_systemd_does(result, cause):
    assert diagnosis.diagnose("dev", ["INFO: nothing"], result=result).cause == cause


@pytest.mark.parametrize(
    ("lines", "evidence"),
    [
        (["INFO a", "KeyError: 'a thing that nobody saw'", "INFO b"], "KeyError: 'a thing that nobody saw'"),
        (["only this"], "only this"),
        ([], "its log is empty"),
        (["WARNING ... limit errors like `OSError: [Errno 24] Too many open files`. Consider"], "WARNING ..."),
    ],
)
def test_what_is_not_in_the_table_is_unknown_with_its_evidence(lines, evidence):
    found = diagnosis.diagnose("dev", lines, result="exit-code", exit_status=1)
    assert found.cause == diagnosis.UNKNOWN
    assert found.evidence.startswith(evidence)


def test_every_real_log_is_used_and_every_cause_says_what_to_do():
    assert {path.stem for path in LOGS.glob("*.log")} == set(REAL)
    for cause in causes.BY_NAME.values():
        assert cause.sentence.endswith(".")
        assert cause.cure.format(name="dev")[-1] in ".`"


@pytest.mark.parametrize(("error", "cause"), [(18, "driver mismatch"), (9, "no card"), (12, "no card")])
def test_a_driver_that_does_not_answer_is_the_hosts_trouble(error, cause, monkeypatch):
    monkeypatch.setattr(checkup, "_disks", lambda: [])
    monkeypatch.setattr(checkup, "_switch", lambda: [])
    facts = {"gpus": [], "driver_version": None, "nvml": {"driver_version": None, "error": error}}
    (found,) = checkup.examine({"accelerator": "cuda", "agents": []}, facts=facts)
    assert (found.cause, found.agent) == (cause, None)
    assert f"error {error}" in checkup.text([found])
    assert json.dumps(found._asdict())


def test_the_manual_and_the_completion_know_every_word():
    made = parser()
    page, script = manual.page(made), manual.completion(made, ("logs",), "/etc/roundhouse/plan.json")
    for word in ("status", "logs", "doctor", "watch", "history"):
        assert word in script
        assert f"  {word}" in page
    assert "\\-\\-drain" in page
    assert "--drain" in script
