"""Write an agent's container as Docker Compose reads it, from what the plan knows of the agent and of the host.

Nothing in the container is writable but /tmp and the cache, nothing runs as root or can become it, and no answer from
beyond the host reaches it. The container's user is the host's and known only there: the role adds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..vllm import options

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.plan import Agent, ComposeFile

SERVICE = "engine"
# All that an engine may write to, compiled kernels among it; the user `roundhouse` is at home there in both runtimes.
CACHE = "/var/cache/roundhouse"
# Containers that hold a card bear the label with its number, so that what a lost engine left on it is found.
CARD_LABEL = "roundhouse.card"
# vLLM's processes share memory through /dev/shm: at least 160 MiB (Docker gives 64), and NCCL some for each card.
SHM_GIB_PER_CARD = 1
# Docker 29 gives a soft limit of 1024 files; an engine with its clients wants as many as the native unit has.
OPEN_FILES = 65536
TMP = "/tmp"  # noqa: S108 - the container's own, a tmpfs
TMP_GIB = 2

CDI, RUNTIME = "cdi", "nvidia"
CDI_KIND = "nvidia.com/gpu"


class Means(NamedTuple):
    """What the host's container engine offers. None, or an empty tuple, means unknown.

    `cdi` are the devices that the engine would take from a CDI specification, `runtimes` the runtimes that it knows,
    `open_files` the most that a process of the host may have open, `uuids` the cards' own names in PCI order.
    """

    cdi: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    open_files: int | None = None
    uuids: tuple[str | None, ...] = ()


class Image(NamedTuple):
    """The image's reference; `engine_path` where the engine lies on the host, None where the image has it."""

    reference: str
    engine_path: str | None = None


def container(name: str) -> str:
    """Return the name of an agent's container, which is its compose project's too."""
    return f"roundhouse-{name}"


def access(means: Means) -> str | None:
    """Return how a container gets its card on this host: CDI before the older runtime, None where there is neither."""
    if any(device.startswith(f"{CDI_KIND}=") for device in means.cdi):
        return CDI
    return RUNTIME if RUNTIME in means.runtimes else None


def document(entry: Agent, accelerator: str, image: Image, means: Means) -> ComposeFile:
    """Return the compose file of a planned agent."""
    name, port = entry["name"], entry["engine_port"]
    cards = entry["gpus"] if accelerator == "cuda" else []
    service: dict[str, object] = {
        "image": image.reference,
        "container_name": container(name),
        "pull_policy": "never",
        "restart": "no",  # systemd alone decides who runs
        "init": True,
        "cgroup_parent": f"roundhouse-{name}.slice",
        "labels": {f"{CARD_LABEL}.{number}": name for number in entry["gpus"]},
        "entrypoint": [f"{image.engine_path}/bin/vllm" if image.engine_path else "vllm", "serve"],
        "command": ["--config", entry["config_path"]],
        "stop_signal": "SIGINT",
        "stop_grace_period": f"{entry['stop_timeout_seconds']}s",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        # The cache lets programs run too: vLLM compiles its own.
        "tmpfs": [f"{TMP}:mode=1777,size={TMP_GIB}g,exec"],
        "shm_size": f"{SHM_GIB_PER_CARD * max(1, len(cards))}gb",
        "ulimits": {"nofile": min(OPEN_FILES, means.open_files or OPEN_FILES)},
        "ports": [f"{entry['host']}:{port}:{port}"],
        "networks": ["closed"],
        "dns": ["127.0.0.1"],  # no server listens there; Docker's own would forward to the host's
        # systemd's journal has the log already, through the unit; a second copy would be one more to rotate.
        "logging": {"driver": "none"},
        "environment": _environment(entry["environment"], accelerator, means),
        "volumes": _volumes(entry, image),
    }
    if cards and (reservation := _reservation(cards, means)):
        service["deploy"] = {"resources": {"reservations": {"devices": [reservation]}}}
    # Packets that are not masqueraded leave with an address that gets no answer.
    closed = {"driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"}}
    return {"name": container(name), "services": {SERVICE: service}, "networks": {"closed": closed}}


def _environment(own: dict[str, str], accelerator: str, means: Means) -> dict[str, str]:
    # The user has no entry in the image's passwd, where PyTorch looks for a name of its cache.
    made = {**own, "HOME": CACHE, "USER": "roundhouse"}
    if accelerator == "cuda" and access(means) == CDI:
        made["NVIDIA_VISIBLE_DEVICES"] = "void"  # an image that says "all" means the older runtime
    return {name: _plain(value) for name, value in made.items()}


def _volumes(entry: Agent, image: Image) -> list[dict[str, object]]:
    """Return what the container sees of the host: everything under its own path, read-only but for the cache."""
    shown = [entry["config_path"], entry["model_path"], entry["draft_model_path"], image.engine_path]
    read = [_bind(path) | {"read_only": True} for path in shown if path]
    return [*read, _bind(CACHE)]


def _bind(path: str) -> dict[str, object]:
    # A path that is not there is an error, not a new folder of root's.
    return {"type": "bind", "source": _plain(path), "target": _plain(path), "bind": {"create_host_path": False}}


def _reservation(cards: list[int], means: Means) -> dict[str, object] | None:
    way = access(means)
    if way is None:
        return None
    names = [_card(number, means) for number in cards]
    if way == CDI:
        names = [f"{CDI_KIND}={name}" for name in names]
    return {"driver": way, "device_ids": names, "capabilities": ["gpu"]}


def _card(number: int, means: Means) -> str:
    """Return a card's own name where the engine knows it by that, else its number, which a new card may change."""
    uuid = means.uuids[number] if number < len(means.uuids) else None
    known = uuid and (access(means) == RUNTIME or f"{CDI_KIND}={uuid}" in means.cdi)
    return str(uuid if known else number)


def _plain(value: str) -> str:
    """Return a text in which compose finds no variable of its own."""
    return value.replace("$", "$$")


def environment(accelerator: str, gpus: list[int], start_seconds: int, *, kernels: bool, eager: bool) -> dict[str, str]:
    """Return the engine's environment in a container, which sees its own cards alone and counts them from 0."""
    made = options.environment(accelerator, gpus, start_seconds, kernels=kernels, eager=eager)
    return {name: value for name, value in made.items() if name != "CUDA_VISIBLE_DEVICES"}


def missing(means: Means) -> list[str]:
    """Return a sentence where a container would get no card on this host."""
    if access(means):
        return []
    return [
        "agents_runtime is compose, and this host's container engine has no way to a GPU yet (neither the CDI device "
        "nvidia.com/gpu nor the runtime nvidia): run playbooks/host.yml, which brings NVIDIA's container toolkit, or "
        "write agents_runtime: native."
    ]
