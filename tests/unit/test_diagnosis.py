"""doctor reports one cause for an engine's log, and reports an unknown log as unknown."""

import json
import re

import pytest

from roundhouse.agents import kernel_log
from roundhouse.checkup import checkup
from roundhouse.doctor import causes, diagnosis
from roundhouse.paths import CHECKOUT

SOURCE = CHECKOUT / "src/roundhouse"
LOGS = CHECKOUT / "tests/fixtures/logs"
# The ends of vLLM 0.32's logs from provoked failures on the lab's host and on an H100. Long lines are cut.
REAL = {
    "context-too-long-for-the-card": "context_too_long_for_card",
    "context-too-long-for-the-model": "context_too_long_for_model",
    "engine-died": "engine_died",
    "library-missing": "library_missing",
    "model-damaged": "model_damaged",
    "model-not-pulled": "model_not_there",
    "model-not-there": "model_not_there",
    "model-unknown": "model_unknown_to_engine",
    "no-compiler": "no_cxx_compiler",
    "port-taken": "port_in_use",
    "slow-start": "slow_start",
    "unknown-option": "unknown_option",
    "unknown-variable": "unknown_variable",
    "wrong-format": "wrong_format",
}
# Messages that need a card, from the sources of vLLM, PyTorch, NVIDIA and Docker.
SOURCES = {
    "ValueError: Free memory on device cuda:0 (9.12/15.47 GiB) on startup is less than desired GPU memory utilization "
    "(0.92, 14.23 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.": "memory_held",
    "Failed to load model - not enough GPU memory. Try lowering --gpu-memory-utilization": "out_of_memory",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.": "out_of_memory",
    "ValueError: No available memory for the cache blocks. Try increasing": "kv_cache_too_small",
    "ValueError: To serve at least one request with the model's max seq len (32768), (8.0 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (3.7 GiB).": "context_too_long_for_card",
    "This model's maximum context length is 4096 tokens. However, your prompt contains": "request_too_long",
    "ValueError: Quantization method specified in the model config (awq) does not match the": "wrong_format",
    "AttributeError: '_OpNamespace' '_C' object has no attribute 'cpu_gemm_wna16'": "format_not_for_cpu",
    "NVML: Driver/library version mismatch": "driver_mismatch",
    "dev hangs: killing its engine, which its unit restarts [engine_hangs]": "engine_hangs",
    "RuntimeError: The NVIDIA driver on your system is too old (found version 12040).": "driver_too_old",
    "RuntimeError: No CUDA GPUs are available": "no_card",
    "RuntimeError: CUDA error: no kernel image is available for execution on the device": "card_unknown_to_engine",
    "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.": "card_lost",
    "NVRM: Xid (PCI:0000:0a:00): 62, pid='<unknown>', name=<unknown>, 2023b230 20238a3a 2023e8b6 2023eac4": "card_lost",
    "NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x22:0x56:1017)": "card_lost",
    "NVRM: Xid (PCI:0000:10:1c): 63, pid=1896, Row Remapper: New row marked for remapping, reset gpu to activate.": (
        "card_memory_faulty"
    ),
    "NVRM: Xid (PCI:0000:0a:00): 31, pid=13332, name=VLLM::EngineCor, Ch 00000010, intr 00000000. MMU Fault: ENGINE": (
        "engine_fault_on_card"
    ),
    "NVRM: Xid (PCI:0000:2b:00): 43, pid=146239, name=VLLM::Worker, channel 0x00000008": "engine_fault_on_card",
    "torch.AcceleratorError: CUDA error: an illegal memory access was encountered": "engine_fault_on_card",
    "NVRM: API mismatch: the client has the version 595.84, but this kernel module has the version 595.71.05.": (
        "driver_mismatch"
    ),
    "NVRM: installed in this system requires use of the NVIDIA open kernel modules.": "driver_flavour_wrong",
    "Out of memory: Killed process 2092 (VLLM::EngineCor) total-vm:25460480kB, anon-rss:16656200kB, file-rss:936kB": (
        "host_out_of_memory"
    ),
    "Memory cgroup out of memory: Killed process 5000 (vllm) total-vm:9000000kB": "host_out_of_memory",
    "roundhouse-dev.service: A process of this unit has been killed by the OOM killer.": "host_out_of_memory",
    "dev answered '!!!!!!!!' [canary]": "canary_failed",
    "dev answers 'no', and 'yes' since it was deployed. Verify the model. [canary_changed]": "canary_failed",
    "dev takes 14.5 GiB of the 15.9 GiB of GPU 0, and python3 (pid 77) holds 4.0 GiB. [memory_held]": "memory_held",
    "dev takes 14.5 GiB of GPU 0; 30 s after the stop, x holds 9 GiB. [memory_not_freed]": "memory_held",
    "lab/small config.json: 127.0.0.1:9 answered 503. [download_failed]": "download_failed",
    "Qwen/X is gated on huggingface.co. [model_gated]": "model_locked",
    'could not select device driver "" with capabilities: [[gpu]]': "container_without_card",
    "nvidia-container-cli: initialization error: load library failed": "container_without_card",
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?": (
        "container_engine_not_running"
    ),
    "Error response from daemon: manifest unknown": "image_not_there",
    "OSError: [Errno 28] No space left on device: '/var/cache/roundhouse/vllm/x'": "disk_full",
    "OSError: [Errno 28] No space left on device: '/dev/shm/psm_1'": "shared_memory_too_small",
    "huggingface_hub.errors.GatedRepoError: 401 Client Error.": "model_locked",
    "requests.exceptions.ConnectionError: HTTPSConnectionPool: Max retries exceeded": "download_failed",
    "roundhouse-dev.service: Failed at step EXEC spawning /opt/x/bin/vllm: No such file or directory": "engine_missing",
}


@pytest.mark.parametrize(("log", "cause"), REAL.items())
def test_a_log_of_the_real_engine_has_one_cause(log, cause):
    lines = (LOGS / f"{log}.log").read_text().splitlines()
    found = diagnosis.diagnose("dev", lines, exit_status=1)
    assert found.code == cause
    assert found.evidence.strip() in "\n".join(lines)
    assert found.remedy
    assert "{" not in found.remedy


@pytest.mark.parametrize(("line", "cause"), SOURCES.items())
def test_a_line_from_the_sources_has_one_cause(line, cause):
    before = "(EngineCore pid=1) INFO 11-25 03:00:35 [core.py:133] Initializing a V1 LLM engine (v0.32.0)"
    found = diagnosis.diagnose("dev", [before, line])
    assert (found.code, found.evidence) == (cause, line[:300])


# Messages that do not end an engine, or that only follow the cause. They must not hide the cause at any position.
HARMLESS = (
    "ValueError: This model's maximum context length is 4096 tokens. However, your prompt contains 5000 input tokens",
    "requests.exceptions.ConnectionError: HTTPSConnectionPool: Max retries exceeded with url: /api/usage",
    "(EngineCore pid=1) WARNING 11-25 03:00:35 [x.py:1] Unknown vLLM environment variable detected: VLLM_TOP_P",
    "NVRM: Xid (PCI:0000:0a:00): 45, pid='<unknown>', name=<unknown>, Ch 00000008",
)


@pytest.mark.parametrize(
    "line", [line for line, cause in SOURCES.items() if cause not in ("request_too_long", "download_failed")]
)
def test_a_harmless_line_does_not_win_over_the_cause(line):
    assert diagnosis.diagnose("dev", [*HARMLESS, line, *HARMLESS]).code == SOURCES[line]


@pytest.mark.parametrize("line", SOURCES)
def test_the_kernels_word_for_memory_comes_first(line):
    found = diagnosis.diagnose("dev", [line], result="oom-kill", exit_status=9)
    assert found.code == "host_out_of_memory"
    killed = "Out of memory: Killed process 2092 (VLLM::EngineCor) total-vm:25460480kB"
    found = diagnosis.diagnose("dev", [line, killed], result="exit-code", exit_status=1)
    assert found.code == "host_out_of_memory"


def test_only_harmless_lines_have_an_unknown_cause():
    found = diagnosis.diagnose("dev", list(HARMLESS[2:]))
    assert (found.code, found.evidence) == (diagnosis.UNKNOWN, HARMLESS[-1])


@pytest.mark.parametrize(
    ("result", "cause"),
    [("timeout", "slow_start"), ("oom-kill", "host_out_of_memory"), ("start-limit-hit", "given_up")],
)
def test_without_a_cause_in_the_log_systemds_result_is_used(result, cause):
    assert diagnosis.diagnose("dev", ["INFO: nothing"], result=result).code == cause


@pytest.mark.parametrize(
    ("lines", "evidence"),
    [
        (["INFO a", "KeyError: 'an unknown thing'", "INFO b"], "KeyError: 'an unknown thing'"),
        (["only this"], "only this"),
        ([], "its log is empty"),
        (["WARNING ... limit errors like `OSError: [Errno 24] Too many open files`. Consider"], "WARNING ..."),
    ],
)
def test_an_unlisted_error_is_unknown_with_its_evidence(lines, evidence):
    found = diagnosis.diagnose("dev", lines, result="exit-code", exit_status=1)
    assert found.code == diagnosis.UNKNOWN
    assert found.evidence.startswith(evidence)


def test_every_real_log_is_used_and_every_cause_has_a_remedy():
    assert {path.stem for path in LOGS.glob("*.log")} == set(REAL)
    for cause in causes.BY_CODE.values():
        assert cause.text.endswith(".")
        assert cause.remedy.format(name="dev")[-1] in ".`"


def test_every_code_of_a_canary_is_in_the_table():
    files = ("vllm/client.py", "agents/canary.py")
    raised = {code for file in files for code in re.findall(r'"(canary_(?!timeout)\w+)",', (SOURCE / file).read_text())}
    assert raised == {*causes.CANARY} - {"canary"}


@pytest.mark.parametrize(("error", "cause"), [(18, "driver_mismatch"), (9, "no_card"), (12, "no_card")])
def test_a_driver_that_does_not_answer_is_a_problem_of_the_host(error, cause, monkeypatch):
    monkeypatch.setattr(checkup, "_disks", lambda: [])
    monkeypatch.setattr(checkup, "_switch", lambda: [])
    monkeypatch.setattr(checkup, "_pulls", lambda plan: [])
    monkeypatch.setattr(kernel_log, "read", lambda: [])
    facts = {"gpus": [], "driver_version": None, "nvml": {"driver_version": None, "error": error}}
    (found,) = checkup.examine({"accelerator": "cuda", "agents": []}, facts=facts)
    assert (found.code, found.agent) == (cause, None)
    assert f"error {error}" in checkup.text([found])
    assert json.dumps(found._asdict())


ESCAPES = "RuntimeError: \x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J \r\x1b[2K\ttab \u202e end"


@pytest.mark.parametrize("line", [ESCAPES, f"torch.OutOfMemoryError: CUDA out of memory. {ESCAPES}"])
def test_a_line_of_a_log_cannot_control_the_terminal(line):
    unit = diagnosis.Unit("failed", False, 0, None, "exit-code", 1, None, 0, False, None)
    for found in (diagnosis.diagnose("dev", [line]), diagnosis.cause("dev", unit, [line])):
        assert found.evidence.isprintable()
        assert "RuntimeError: red " in found.evidence
    assert "\x1b" not in diagnosis.of_error("dev", None, line).message
