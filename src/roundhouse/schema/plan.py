"""The shapes of the plan: what was computed and is deployed (/etc/roundhouse/plan.json)."""

from __future__ import annotations

from typing import Any, TypedDict

# What others named: keys and values are theirs, and nothing here checks them.
EngineConfig = dict[str, Any]  # vLLM's options, as `vllm serve --config` reads them (vllm/options.py)
ComposeFile = dict[str, Any]  # Docker Compose's file of one container (plan/compose.py)


class GaveUp(TypedDict):
    """One thing that the roster asks for and the plan does not give (plan/choose.py)."""

    setting: str  # one of roster/fields.GIVE_UP
    wanted: str | int  # tokens for max_model_len, else a name
    got: str | int
    why: str  # a sentence


class OverheadTerm(TypedDict):
    """One term of what an engine takes besides weights and KV cache, on each rank."""

    gib: float
    uncertainty_gib: float  # half-width
    cause: str


class FitNumbers(TypedDict):
    """fit/estimate.Fit in numbers, per rank; None where a card or a split rules the question out."""

    weights_gib_per_rank: float | None
    kv_bytes_per_token_per_rank: int | None
    overhead_gib: float | None  # inside the engine's share
    overhead_terms: dict[str, OverheadTerm]  # those inside the share, by name; {} where not computed
    kv_gib_per_rank: float | None
    kv_tokens: int | None
    max_model_len_possible: int | None  # tokens
    gap_gib: float | None  # what is missing for max_model_len; negative: to spare
    decode_ceiling_tokens_per_second: float | None  # of one sequence; None: bandwidth not known, or it speculates


class FitRow(FitNumbers):
    """An agent's fit as the plan keeps it: the memory split of each of its cards."""

    card_gib: float  # CUDA's total of its smallest card
    format: str  # of the weights, by vllm/formats.WEIGHT_FORMATS


class Decision(TypedDict):
    """What a choice decides of an agent (plan/decide.py)."""

    taken: bool  # false: nothing fits, and the plan has a problem
    waits: bool  # true: nothing can be computed before the host has its driver
    model: str
    revision: str | None
    quantization: str | None
    quantize: str | None  # the recipe by which `model` is quantized here
    verdict: str  # fits, tight, no or unknown
    given_up: list[GaveUp]
    refused: list[str]  # a sentence for each model that was passed over
    notes: list[str]  # sentences (plan/requirements.py)
    max_model_len: int
    kv_cache_dtype: str
    gpu_memory_utilization: float
    max_num_seqs: int | None  # None: on a CPU, where the roster says nothing
    max_num_batched_tokens: int | None  # likewise
    gpus: list[int]  # never empty; [0] on a CPU too
    fit: FitRow | None  # None: nothing was computed


class Decided(Decision):
    """A decision with what was asked."""

    fingerprint: str  # of plan/requirements.py: of the request and the cards


class StartLimit(TypedDict):
    """How long a start may take, and the terms in words."""

    seconds: int
    why: str


class Limits(TypedDict):
    """The limits of an agent's unit (plan/start_timeout.py)."""

    start_timeout_seconds: int
    start_timeout_why: str
    stop_timeout_seconds: int  # drain + margin
    restart_seconds: int
    start_tries: int  # within start_tries_seconds
    start_tries_seconds: int


class AgentBase(Decided, Limits):
    """What every agent of the plan has."""

    name: str
    description: str | None
    unit: str  # roundhouse-NAME.service
    host: str  # where it answers: loopback
    port: int  # the clients': the gateway's, or the engine's own where there is none
    engine_port: int  # equals port without a gateway
    model_path: str  # the folder that is loaded
    draft_model: str | None
    draft_revision: str | None
    draft_model_path: str | None
    temperature: float
    top_p: float
    config_path: str
    config: EngineConfig
    enforce_eager: bool  # nothing is compiled, no CUDA graphs are captured
    kernels: bool  # FlashInfer's are there, compiled
    environment: dict[str, str]
    conflicts: list[str]  # names of the agents that share a card
    after: list[str]  # those of them that the unit is ordered after


class Agent(AgentBase, total=False):
    """One agent of the plan. plan/deployed.load adds keys that an earlier version did not write, or they need .get."""

    compose_path: str  # of runtime compose alone
    compose: ComposeFile  # likewise
    # Limits that no planner writes: suites of tests put them into plan.json.
    canary_timeout_seconds: float
    free_timeout_seconds: float
    watchdog_every_seconds: float
    watchdog_limit_seconds: float
    stop_grace_seconds: float


class Plan(TypedDict):
    """What the roster became on one host: plan.json, the only input of the command."""

    schema: int  # plan/deployed.SCHEMA
    runtime: str  # native or compose
    image: str | None  # the containers' reference; None: native
    accelerator: str  # cuda or cpu
    engine_path: str  # the engine's environment
    models_store: str
    gateway_port: int | None  # None without a gateway
    waiting: list[str]  # sentences: what is not known yet and will be
    problems: list[str]  # sentences: while there is one, nothing is deployed
    agents: list[Agent]
