"""Provide the types of the plan: the computed and deployed configuration (/etc/roundhouse/plan.json)."""

from __future__ import annotations

from typing import Any, TypedDict

# Formats of other programs, which define the keys and values. They are not checked here.
EngineConfig = dict[str, Any]  # vLLM's options, as `vllm serve --config` reads them (vllm/options.py)
ComposeFile = dict[str, Any]  # Docker Compose's file of one container (plan/compose.py)


class GaveUp(TypedDict):
    """One setting of the roster that the plan reduces (plan/choose.py)."""

    setting: str  # one of roster/fields.GIVE_UP
    wanted: str | int  # tokens for max_model_len, otherwise a name
    got: str | int
    why: str  # a sentence


class OverheadTerm(TypedDict):
    """One term of an engine's memory besides weights and KV cache, per rank."""

    gib: float
    uncertainty_gib: float  # half-width
    cause: str


class FitNumbers(TypedDict):
    """fit/estimate.Fit in numbers, per rank; None if the card or the split across cards is unsupported."""

    weights_gib_per_rank: float | None
    kv_bytes_per_token_per_rank: int | None
    overhead_gib: float | None  # inside the engine's share of the card
    overhead_terms: dict[str, OverheadTerm]  # the terms inside the share, by name; {} if not computed
    kv_gib_per_rank: float | None
    kv_tokens: int | None
    max_model_len_possible: int | None  # tokens
    gap_gib: float | None  # memory missing for max_model_len; negative: free memory
    decode_ceiling_tokens_per_second: float | None  # of one sequence; None: unknown bandwidth, or speculative decoding


class FitRow(FitNumbers):
    """An agent's fit as stored in the plan: the memory of each of its cards by use.

    `desktop_gib` is left for the desktop on a card, and `system_gib` for the system if the card shares its memory.
    """

    card_gib: float  # CUDA's total of the smallest card
    desktop_gib: float | None  # None: no display
    system_gib: float | None  # None: no unified memory
    format: str  # of the weights, a name in vllm/formats.WEIGHT_FORMATS


class Decision(TypedDict):
    """The settings that the plan chooses for an agent (plan/decide.py)."""

    taken: bool  # false: no model fits, and the plan has a problem
    waits: bool  # true: the fit cannot be computed before the driver is installed
    model: str
    revision: str | None
    quantization: str | None
    quantize: str | None  # the recipe that quantizes `model` on this host
    verdict: str  # fits, tight, no or unknown
    given_up: list[GaveUp]
    refused: list[str]  # a sentence for each model that was not chosen
    notes: list[str]  # sentences (plan/requirements.py)
    max_model_len: int
    kv_cache_dtype: str
    gpu_memory_utilization: float
    max_num_seqs: int | None  # None: on a CPU, if the roster does not set it
    max_num_batched_tokens: int | None  # likewise
    gpus: list[int]  # never empty; [0] on a CPU too
    fit: FitRow | None  # None: nothing was computed


class Decided(Decision):
    """A decision with the fingerprint of its inputs."""

    fingerprint: str  # of the request and the cards (plan/requirements.py)


class StartLimit(TypedDict):
    """The time limit of a start in seconds, and its terms in words."""

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


class RoleDefaults(TypedDict, total=False):
    """The defaults of an agent's requests (vllm/middleware.py); absent ones are the engine's."""

    sampling: dict[str, float]  # by vLLM's names
    system_prompt: str
    thinking: bool
    max_tokens: int


class AgentBase(Decided, Limits):
    """The keys that every agent of the plan has."""

    name: str
    description: str | None
    unit: str  # roundhouse-NAME.service
    host: str  # the address it listens on: loopback
    port: int  # for clients: the gateway's, or the engine's own without a gateway.
    engine_port: int  # equals port without a gateway
    model_path: str  # the folder that the engine loads
    draft_model: str | None
    draft_revision: str | None
    draft_model_path: str | None
    temperature: float
    top_p: float
    role_defaults: RoleDefaults
    gpu_uuids: list[str]  # of `gpus`, in their order; []: unknown before the driver, or on a CPU
    config_path: str
    config: EngineConfig
    enforce_eager: bool  # true: no compilation and no CUDA graphs
    kernels: bool  # true: FlashInfer's compiled kernels are installed
    environment: dict[str, str]
    conflicts: list[str]  # names of the agents that share a card
    after: list[str]  # those of `conflicts` that the unit is ordered after


class Agent(AgentBase, total=False):
    """One agent of the plan. plan/deployed.load adds keys that an earlier version did not write; others need .get."""

    compose_path: str  # only with runtime compose
    compose: ComposeFile  # likewise.
    engine_options: dict[str, object]  # only if the roster has some. They are in `config` too.
    # Limits that the planner does not write: test suites put them into plan.json.
    canary_timeout_seconds: float
    free_timeout_seconds: float
    watchdog_every_seconds: float
    watchdog_limit_seconds: float
    stop_grace_seconds: float


class PlanCard(TypedDict):
    """A card of the host."""

    gpu: int | None  # its number in NVML's order; None: no driver of NVIDIA is bound to it
    uuid: str | None
    name: str
    problem: str | None  # a sentence: why no agent can use it; None if one can


class Plan(TypedDict):
    """The plan of one host: plan.json, the only input of the command."""

    schema: int  # plan/deployed.SCHEMA
    runtime: str  # native or compose
    image: str | None  # the reference of the container image; None: native
    accelerator: str  # cuda or cpu
    engine_path: str  # the engine's environment
    models_store: str
    gateway_port: int | None  # None without a gateway
    waiting: list[str]  # sentences: facts that become known later in the run
    problems: list[str]  # sentences: if there is one, nothing is deployed
    cards: list[PlanCard]  # []: a CPU
    agents: list[Agent]
