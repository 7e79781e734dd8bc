"""Provide the types of the host facts that a plan depends on, and of the results that a host reports."""

from __future__ import annotations

from typing import Any, TypedDict

from .cards import GpuFacts, NvmlAnswer
from .plan import Plan

ModelConfig = dict[str, Any]  # a checkpoint's config.json, as its author wrote it


class MeansFacts(TypedDict):
    """The container engine's features (host/docker.means); fields of plan/compose.Means."""

    cdi: list[str]
    runtimes: list[str]
    open_files: int | None
    labels: bool
    memory_gib: int | None  # rounded down


class Disk(TypedDict):
    """The size of the weights in one folder, and the rate at which the disk reads them."""

    weights_bytes: int
    bytes_per_second: float | None


class KnownStart(TypedDict):
    """state/start_phases.Start as JSON: one start that became ready."""

    agent: str
    model_path: str
    seconds: float
    began: dict[str, float]  # phase -> its beginning, in seconds after the start


class _Measurement(TypedDict):
    engine: str  # of vLLM: 0.32
    model: str
    quantization: str | None
    kv_cache_dtype: str
    gpus: list[int]
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    enforce_eager: bool
    draft_model: str | None
    quantize: str | None
    kernels: bool
    max_model_len: int
    gpu_memory_utilization: float


class Measurement(_Measurement, total=False):
    """The measurements of an engine's start log, with its configuration (measured.json). Absent: not in the log."""

    cuda_gib: float
    weights_gib: float
    kv_gib: float
    kv_tokens: float
    graphs_estimated_gib: float
    graphs_gib: float
    activation_gib: float


class PlanFacts(GpuFacts):
    """The result of the module roundhouse_plan_facts."""

    answer: NvmlAnswer
    configs: dict[str, ModelConfig]  # by the folder that the roster names
    stamps: dict[str, str]  # folder -> its stamp, used as the revision (models/own_folders.stamp)
    means: MeansFacts
    disk: dict[str, Disk]  # by folder: the store and the roster's own
    measured: list[Measurement]
    starts: list[KnownStart]
    deployed: Plan | None  # None: none, or one that cannot be read


class LockedModel(TypedDict):
    """An entry of models.lock."""

    revision: str  # a commit
    files: dict[str, str]  # path -> "SIZE ALGORITHM:HEX"


class RequiredModel(TypedDict):
    """A model of the hub that planned agents need (lock.required_models)."""

    model: str
    revision: str
    asked: str  # the revision in the roster, for example a branch
    files: dict[str, str] | None  # None: not locked yet
    serves: bool  # false: needed only as the base of a quantized model


class RequiredResult(TypedDict):
    """A quantized model that planned agents need (quantized.required_results)."""

    model: str
    revision: str | None
    recipe: str
    path: str


class ModelState(TypedDict):
    """The models that a host still needs (provision/model_state.py)."""

    to_pull: list[RequiredModel]
    to_quantize: list[RequiredResult]
    problems: list[str]  # sentences
    is_old_layout: bool


class _ServiceReads(TypedDict):
    reads: str
    read_at: str


class ServiceReads(_ServiceReads, total=False):
    """The folder of files that a service reads, and the file that it touches after reading them."""

    ignores: list[str]  # patterns of file names


class ServiceState(TypedDict):
    """The state of a systemd service (host/services.py)."""

    enabled: bool
    state: str  # ActiveState
    unread: list[str]  # files that changed after the service read them


class Services(TypedDict):
    """The result of host/services.inspect."""

    services: dict[str, ServiceState]
    stale: list[str]  # units whose changed files systemd has not reloaded


class HostState(TypedDict):
    """The parts of a deployment that are present on a host (provision/host_state.py)."""

    packages: list[str]
    environments: list[str]
    hub_current: str | None
    models: ModelState
    image: bool
    command: str | None
    users: dict[str, dict[str, str | int]]
    gateway: dict[str, bool]
    proxy: bool  # the file of host_proxy_url exists
    ollama: ServiceState


class DriverRow(TypedDict):
    """A part of the host that `doctor` checks (host/driver.rows)."""

    part: str
    state: str
    text: str
    remedy: str
    ok: bool


class PulledModel(TypedDict):
    """A row of the result of pull.Pull.run."""

    model: str
    revision: str
    path: str
    changed: bool
    fetched: list[str]  # paths


class CrashRow(TypedDict):
    """The crashes of an agent's engine in the last 24 hours (agents/crash_report.Crash)."""

    at: str  # of the last one, ISO 8601 in UTC
    count: int
    cause: str  # its code in the table of doctor, or `unknown`
    evidence: str  # a line of the log
    restart_seconds: float | None  # until the unit had it ready again; None before that


class StatusRow(TypedDict):
    """The current state of an agent (agents/status.rows); facts of the engine are None if none runs."""

    agent: str
    state: str | None  # host/systemd.Unit.state; None if systemd does not report one
    port: int
    model: str
    max_model_len: int | None
    running: int | None  # requests
    waiting: int | None  # requests
    kv_use: float | None  # 0 to 1
    since: str | None  # ISO 8601 in UTC
    version: str | None
    drift: list[str]  # sentences
    problem: str | None  # a sentence
    crash: CrashRow | None


class _ExplainRow(TypedDict):
    name: str
    value: str
    formula: str
    source: str


class ExplainRow(_ExplainRow, total=False):
    """A term with its formula and source (fit/report.rows)."""

    cause: str
