"""From a line of an engine's log, its exit or its host's state to one cause and a cure: the table that doctor reads.

The first row that matches names the cause, so what is special stands before what is general. The lines are vLLM 0.32's,
PyTorch's, systemd's and Docker's own words; log text is no interface, so a pattern is as short as it can be.
"""

from __future__ import annotations

import re
from typing import NamedTuple

AGAIN = "ansible-playbook site.yml --extra-vars plan_again=true"


class Cause(NamedTuple):
    """A cause: how it shows in a log, what is so, and what cures it. `{name}` is the agent."""

    name: str
    pattern: re.Pattern[str]
    sentence: str
    cure: str


def _row(name: str, pattern: str, sentence: str, cure: str) -> Cause:
    return Cause(name, re.compile(pattern), sentence, cure)


CAUSES = (
    _row(
        "memory held",
        r"Free memory on device .*less than desired",
        "Something else holds memory of the card that the engine was to take.",
        "See who with `roundhouse gpu`, stop it, and run `roundhouse {name}`.",
    ),
    _row(
        "KV cache too small",
        r"No available memory for the cache blocks",
        "The weights leave no memory for the KV cache.",
        f"Raise gpu_memory_utilization or name a smaller model in the roster, then `{AGAIN}`.",
    ),
    _row(
        "context too long for the card",
        r"To serve at least one request with the model's max seq len",
        "The KV cache does not hold one request of max_model_len tokens.",
        f"Lower max_model_len (or max_model_len_min, so that the plan may) in the roster, then `{AGAIN}`.",
    ),
    _row(
        "context too long for the model",
        r"greater than the derived max_model_len",
        "max_model_len is more than the model was made for.",
        "Lower max_model_len of {name} in the roster to what the line says, then `ansible-playbook site.yml`.",
    ),
    _row(
        "out of memory",
        r"OutOfMemoryError|CUDA out of memory|not enough GPU memory",
        "The card's memory did not hold the model and its work space.",
        f"See who else is on the card with `roundhouse gpu`; if nobody, `{AGAIN}` plans with what was measured.",
    ),
    _row(
        "request too long",
        r"maximum context length is \d+ tokens",
        "A client sent more tokens than max_model_len.",
        "Shorten the request, or raise max_model_len of {name} in the roster and run `ansible-playbook site.yml`.",
    ),
    _row(
        "wrong format",
        r"Unknown quantization method|[Qq]uantization method specified .* does not match",
        "The model's format is none that this engine loads, or another than the roster says.",
        "Name the model's own quantization in the roster (awq, gptq, fp8, or none), then `ansible-playbook site.yml`.",
    ),
    _row(
        "model damaged",
        r"SafetensorError|incomplete metadata, file not fully covered|HeaderTooLarge",
        "A file of the model is cut or damaged.",
        "Delete the model's folder and run `ansible-playbook site.yml --tags models`, which pulls it again.",
    ),
    _row(
        "model unknown to the engine",
        r"Model architectures .* are not supported|does not recognize this architecture",
        "This engine's version does not know the model's architecture.",
        "Name a model of the families in the README for {name}, then `ansible-playbook site.yml`.",
    ),
    _row(
        "model not there",
        r"Repo id must be in the form|LocalEntryNotFoundError|outgoing traffic has been disabled",
        "The model is not on this host, and an engine downloads nothing.",
        "Run `ansible-playbook site.yml --tags models`, which pulls it.",
    ),
    _row(
        "model locked",
        r"GatedRepoError|401 Client Error|403 Client Error",
        "The hub does not give this model without an account that accepted its licence.",
        "Accept it on the hub and give the play a token (HF_TOKEN in models_environment), or name an open model.",
    ),
    _row(
        "download failed",
        r"Max retries exceeded|IncompleteRead|ReadTimeout|Temporary failure in name resolution|ConnectionResetError",
        "The download broke off, or the hub was not reached.",
        "Run `ansible-playbook site.yml --tags models` again: it goes on where it stopped. Behind a proxy, set "
        "models_environment.",
    ),
    _row(
        "shared memory too small",
        r"/shm/?\S* .*No space|shared memory.*(No space|too small|bus error)|Bus error",
        "The container's /dev/shm is smaller than the engine's processes need.",
        "Give it 1 GiB (shm_size: 1gb), then `roundhouse {name}`.",
    ),
    _row(
        "disk full",
        r"No space left on device|Disk quota exceeded",
        "A disk that the engine writes to is full.",
        "See which with `df -h /var/cache/roundhouse /var/lib/roundhouse /tmp` and make room.",
    ),
    _row(
        "port taken",
        r"[Aa]ddress already in use|EADDRINUSE|port is already allocated",
        "Another program listens on the agent's port.",
        "See which with `ss -ltnp`, stop it, or give {name} another port in the roster.",
    ),
    _row(
        "driver mismatch",
        r"[Dd]river/library version mismatch|LIB_RM_VERSION_MISMATCH",
        "The driver was upgraded and the old module is still loaded.",
        "Reboot the host.",
    ),
    _row(
        "driver too old",
        r"driver on your system is too old|CUDA driver version is insufficient|forward compatibility was attempted",
        "The loaded driver is older than the engine's CUDA needs.",
        "Run `ansible-playbook site.yml --tags host`, which installs the pinned driver, and reboot.",
    ),
    _row(
        "card unknown to the engine",
        r"no kernel image is available",
        "The engine was not built for this card's generation.",
        "Run `ansible-playbook site.yml`, which brings the pinned engine; cards before Turing are not supported.",
    ),
    _row(
        "card lost",
        r"GPU is lost|fallen off the bus|Xid \(PCI|CUDA error: (an illegal|unspecified)|uncorrectable ECC",
        "The card stopped answering, or reported a fault of its own.",
        "Read `dmesg | grep -i xid`, check power and cooling, and reboot the host.",
    ),
    _row(
        "no card",
        r"No CUDA GPUs are available|Found no NVIDIA driver|Failed to infer device type|CUDA unknown error",
        "The engine sees no card: the driver is not loaded, or its devices are not there.",
        "Run `ansible-playbook site.yml --tags host`; then `nvidia-smi` must list the card.",
    ),
    _row(
        "container without card",
        r"could not select device driver|nvidia-container-cli|unresolvable CDI devices|unknown runtime.*nvidia",
        "The container engine cannot hand the card to a container.",
        "Run `ansible-playbook site.yml --tags host`, which installs and configures NVIDIA's container toolkit.",
    ),
    _row(
        "image not there",
        r"manifest unknown|pull access denied|No such image",
        "The engine's image is not on this host.",
        "Run `ansible-playbook site.yml --tags engine`.",
    ),
    _row(
        "container engine not running",
        r"Cannot connect to the Docker daemon|docker\.sock: connect",
        "The container engine does not run.",
        "Start it: `systemctl start docker`. Its containers come back by their units.",
    ),
    _row(
        "unknown option",
        r"unrecognized arguments|error: argument --",
        "The agent's configuration holds an option that this engine does not have.",
        "It was written by hand or for another version: run `ansible-playbook site.yml`.",
    ),
    _row(
        "unknown variable",
        r"Unknown vLLM environment variable",
        "The unit sets a VLLM_ variable that this engine does not have.",
        "Take it out of the unit's drop-ins (`systemctl cat roundhouse-{name}`), or run `ansible-playbook site.yml`.",
    ),
    _row(
        "no compiler",
        r"No working C\S* compiler|Failed to find C compiler|InvalidCxxCompiler",
        "The engine compiles at its start, and the host has no compiler.",
        "Run `ansible-playbook site.yml --tags engine`, which installs it, or set enforce_eager: true for {name}.",
    ),
    _row(
        "library missing",
        r"init_cpu_memory_env|libnuma\S* cannot open|cannot open shared object file",
        "A library that the engine links to is not on the host.",
        "Run `ansible-playbook site.yml --tags engine`, which installs it.",
    ),
    _row(
        "too many files",
        r"Too many open files$|\[Errno 24\] Too many open files(?!`)",
        "The engine may not open as many files as it has connections.",
        "The unit allows 65536; see `systemctl show -p LimitNOFILE roundhouse-{name}` for a drop-in that lowers it.",
    ),
    _row(
        "engine missing",
        r"Failed to locate executable|Failed at step EXEC|status=203/EXEC",
        "The engine's program is not on this host.",
        "Run `ansible-playbook site.yml --tags engine`.",
    ),
    _row(
        "slow start",
        r"Timed out waiting for engine core|start operation timed out",
        "The engine took longer to start than it is given.",
        "Raise agents_start_timeout_seconds, and see in `roundhouse logs {name}` which phase took so long.",
    ),
    _row(
        "engine died",
        r"EngineDeadError|EngineCore encountered an issue",
        "The engine's core ended while it served; systemd starts it again.",
        "Look for the first error above it with `roundhouse logs {name} -n 500`.",
    ),
)
# What systemd says of a unit's end, where no line of the log told more.
RESULTS = {
    "timeout": "slow start",
    "oom-kill": "host out of memory",
    "start-limit-hit": "given up",
}
STATES = (
    _row(
        "host out of memory",
        "^$",
        "The kernel ended the engine because the host's own memory (not the card's) was full.",
        "See who takes it with `ps aux --sort=-rss | head`, and free some, or add swap.",
    ),
    _row(
        "given up",
        "^$",
        "systemd gave the agent up after too many starts in a row.",
        "Mend what `roundhouse logs {name}` shows, then run `roundhouse {name}`: it clears the limit.",
    ),
)
BY_NAME = {cause.name: cause for cause in (*CAUSES, *STATES)}
