"""Build an agent's Docker Compose file from the plan and the host's facts.

In the container only /tmp and the cache are writable. No process runs as root or can become root, and no answers from
other hosts arrive. The role adds the container's user, because its ID is known only on the host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..vllm import options
from . import accounts, roles

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from collections.abc import Sequence

    from roundhouse.schema.plan import Agent, ComposeFile

SERVICE = "engine"
# A container that uses a card has a label with its UUID, or its number while that is unknown. By the label, a container
# is found that a crashed engine left.
CARD_LABEL = "roundhouse.card"
# vLLM's processes share memory through /dev/shm: at least 160 MiB (Docker's default is 64); NCCL needs more per card.
SHM_GIB_PER_CARD = 1
# Docker 29 sets a soft limit of 1024 open files; an engine with many clients needs as many as the native unit has.
OPEN_FILES = 65536
# Processes and threads of a container. An engine of 8 cards that compiles on 256 cores has a few thousand.
PIDS = 32768
# The share of the host's memory that an engine may use, so that an engine that uses too much ends instead of the host.
# Weights that the kernel caches count too, but the kernel drops them first.
MEMORY_PERCENT = 90
TMP = "/tmp"  # noqa: S108 - a tmpfs of the container
TMP_GIB = 2

CDI, RUNTIME = "cdi", "nvidia"
CDI_KIND = "nvidia.com/gpu"


class Means(NamedTuple):
    """The features of the host's container engine. None, or an empty tuple, means unknown.

    `cdi` are the devices in the CDI specifications, and `runtimes` the installed runtimes. `open_files` is the host's
    hard limit of open files per process. `labels` is true if the engine gives its containers SELinux labels.
    `memory_gib` is the host's memory in whole GiB: a new kernel changes the rest, which must change no plan.
    """

    cdi: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    open_files: int | None = None
    labels: bool = False
    memory_gib: int | None = None


class Image(NamedTuple):
    """The image's reference; `engine_path` is the engine's folder on the host, None if the image contains it."""

    reference: str
    engine_path: str | None = None


def container(name: str) -> str:
    """Return the name of an agent's container, which is also the name of its Compose project."""
    return f"roundhouse-{name}"


def access(means: Means) -> str | None:
    """Return the mechanism that gives a container its card: CDI, else the older runtime; None without either."""
    if any(device.startswith(f"{CDI_KIND}=") for device in means.cdi):
        return CDI
    return RUNTIME if RUNTIME in means.runtimes else None


def document(entry: Agent, accelerator: str, image: Image, means: Means) -> ComposeFile:
    """Return the compose file of a planned agent."""
    name, port = entry["name"], entry["engine_port"]
    cards = devices(entry) if accelerator == "cuda" else []
    service: dict[str, object] = {
        "image": image.reference,
        "container_name": container(name),
        "pull_policy": "never",
        "restart": "no",  # only systemd starts and restarts engines
        "init": True,
        "cgroup_parent": f"roundhouse-{name}.slice",
        "labels": {f"{CARD_LABEL}.{card}": name for card in devices(entry)},
        "entrypoint": [f"{image.engine_path}/bin/vllm" if image.engine_path else "vllm", "serve"],
        "command": ["--config", entry["config_path"]],
        "stop_signal": "SIGINT",
        "stop_grace_period": f"{entry['stop_timeout_seconds']}s",
        "read_only": True,
        "cap_drop": ["ALL"],
        # A labelled container may open neither the card nor the host's models. The other limits here stay.
        "security_opt": ["no-new-privileges:true", *(["label=disable"] if means.labels else [])],
        "pids_limit": PIDS,
        # Programs may run from /tmp and the cache, because vLLM compiles its own.
        "tmpfs": [f"{TMP}:mode=1777,size={TMP_GIB}g,exec"],
        "shm_size": f"{SHM_GIB_PER_CARD * max(1, len(cards))}gb",
        "ulimits": {"nofile": min(OPEN_FILES, means.open_files or OPEN_FILES)},
        "ports": [f"{entry['host']}:{port}:{port}"],
        "networks": ["closed"],
        "dns": ["127.0.0.1"],  # No server listens there; Docker's own DNS would forward to the host's.
        # The log goes to systemd's journal through the unit; a second copy would need its own rotation.
        "logging": {"driver": "none"},
        "environment": _environment(entry, accelerator, means),
        "volumes": _volumes(entry, image),
    }
    if means.memory_gib:
        service["mem_limit"] = f"{means.memory_gib * 1024 * MEMORY_PERCENT // 100}m"
    if cards and (reservation := _reservation(entry, means)):
        service["deploy"] = {"resources": {"reservations": {"devices": [reservation]}}}
    # Without masquerading, packets leave with a source address to which no answer is routed.
    closed = {"driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"}}
    return {"name": container(name), "services": {SERVICE: service}, "networks": {"closed": closed}}


def _environment(entry: Agent, accelerator: str, means: Means) -> dict[str, str]:
    # The user is not in the image's passwd file, in which PyTorch looks up the name for its cache.
    own = {"HOME": accounts.cache(entry["name"]), "USER": accounts.account(entry["name"])}
    made = {**entry["environment"], **own}
    if accelerator == "cuda" and access(means) == CDI:
        made["NVIDIA_VISIBLE_DEVICES"] = "void"  # overrides an image's "all", which is for the older runtime
    return {name: _plain(value) for name, value in made.items()}


def _volumes(entry: Agent, image: Image) -> list[dict[str, object]]:
    """Return the host's files in the container, under their own paths and read-only, except for the cache."""
    shown = [entry["config_path"], entry["model_path"], entry["draft_model_path"], image.engine_path]
    shown.append(roles.folder(entry["name"]))
    read = [_bind(path) | {"read_only": True} for path in shown if path]
    return [*read, _bind(accounts.cache(entry["name"]))]


def _bind(path: str) -> dict[str, object]:
    # A missing path is an error; Docker must not create a folder owned by root.
    return {"type": "bind", "source": _plain(path), "target": _plain(path), "bind": {"create_host_path": False}}


def devices(entry: Agent) -> list[int | str]:
    """Return the UUIDs of an agent's cards, or their numbers, which change if a card is added, while unknown."""
    return [*(entry.get("gpu_uuids") or entry["gpus"])]


def _reservation(entry: Agent, means: Means) -> dict[str, object] | None:
    driver = access(means)
    if driver is None:
        return None
    names = [str(card) for card in devices(entry)]
    if driver == CDI:
        named = [f"{CDI_KIND}={name}" for name in names]
        # A specification without the names by UUID, as of an older container toolkit.
        names = named if set(named) <= set(means.cdi) else [f"{CDI_KIND}={number}" for number in entry["gpus"]]
    return {"driver": driver, "device_ids": names, "capabilities": ["gpu"]}


def _plain(value: str) -> str:
    """Return a string with $ escaped, so that Compose replaces no variables."""
    return value.replace("$", "$$")


def environment(
    accelerator: str, gpus: Sequence[int | str], start_seconds: int, *, kernels: bool, eager: bool
) -> dict[str, str]:
    """Return the engine's environment in a container, which sees only its own cards and numbers them from 0."""
    made = options.environment(accelerator, gpus, start_seconds, kernels=kernels, eager=eager)
    return {name: value for name, value in made.items() if name != "CUDA_VISIBLE_DEVICES"}


def missing(means: Means) -> list[str]:
    """Return a sentence if a container cannot get a card on this host, else []."""
    if access(means):
        return []
    return [
        "agents_runtime is compose, but this host's container engine has neither the CDI device nvidia.com/gpu nor the "
        "runtime nvidia. Run playbooks/host.yml, which installs NVIDIA's container toolkit, or write agents_runtime: "
        "native."
    ]
