"""From a line of an engine's log, its exit or its host's state to one cause and a remedy: the table that doctor reads.

The first row that matches names the cause: what the kernel says of memory and card comes first, then what is special
before what is general, and last what may stand in a log without being the reason. The lines are vLLM 0.32's, PyTorch's,
systemd's, Docker's and the kernel's own words; log text is no interface, so a pattern is as short as it can be.
"""

from __future__ import annotations

from .cause import row
from .causes_gpu import ENGINE_FAULT, HOST_MEMORY, OF_THE_CARD
from .causes_model import CAUSES as OF_THE_MODEL
from .causes_model import LAST

# The codes of a canary that failed, as vllm/client.py and agents/canary.py raise them; "canary" is of older versions.
CANARY = ("canary", "canary_changed", "canary_unanswered", "canary_wrong_model", "canary_no_answer", "canary_no_text")
CAUSES = (
    HOST_MEMORY,
    *OF_THE_CARD,
    *OF_THE_MODEL,
    row(
        "shared_memory_too_small",
        r"No space left on device.*\bshm\b|shared memory.*(No space|too small)|Bus error",
        "The container's /dev/shm is smaller than the engine's processes need.",
        "Run `ansible-playbook site.yml`, which gives the container at least 1 GiB for each of its cards (shm_size).",
    ),
    row(
        "disk_full",
        r"No space left on device|Disk quota exceeded",
        "A disk that the engine writes to is full.",
        "See which with `df -h /var/cache/roundhouse /var/lib/roundhouse /tmp` and make room.",
    ),
    row(
        "port_in_use",
        r"[Aa]ddress already in use|EADDRINUSE|port is already allocated",
        "Another program listens on the agent's port.",
        "See which with `ss -ltnp`, stop it, or give {name} another port in the roster.",
        errors=("port_in_use",),
    ),
    row(
        "driver_too_old",
        r"driver on your system is too old|CUDA driver version is insufficient|forward compatibility was attempted",
        "The loaded driver is older than the engine's CUDA needs.",
        "Run `ansible-playbook site.yml --tags host`, which installs the pinned driver, and reboot.",
    ),
    row(
        "card_unknown_to_engine",
        r"no kernel image is available",
        "The engine was not built for this card's generation.",
        "Run `ansible-playbook site.yml`, which brings the pinned engine; cards before Turing are not supported.",
    ),
    row(
        "no_card",
        r"No CUDA GPUs are available|Found no NVIDIA driver|Failed to infer device type|CUDA unknown error",
        "The engine sees no card: the driver is not loaded, or its devices are not there.",
        "Run `ansible-playbook site.yml --tags host`; then `nvidia-smi` must list the card.",
    ),
    row(
        "container_without_card",
        r"could not select device driver|nvidia-container-cli|unresolvable CDI devices|unknown runtime.*nvidia",
        "The container engine cannot hand the card to a container.",
        "Run `ansible-playbook site.yml --tags host`, which installs and configures NVIDIA's container toolkit.",
    ),
    row(
        "image_not_there",
        r"manifest unknown|pull access denied|No such image",
        "The engine's image is not on this host.",
        "Run `ansible-playbook site.yml --tags engine`.",
    ),
    row(
        "container_engine_not_running",
        r"Cannot connect to the Docker daemon|docker\.sock: connect",
        "The container engine does not run.",
        "Start it: `systemctl start docker`. Its containers come back by their units.",
    ),
    row(
        "unknown_option",
        r"unrecognized arguments|error: argument --",
        "The agent's configuration holds an option that this engine does not have.",
        "It was written by hand or for another version: run `ansible-playbook site.yml`.",
    ),
    row(
        "unknown_variable",
        r"Unknown vLLM environment variable",
        "The unit sets a VLLM_ variable that this engine does not have.",
        "Take it out of the unit's drop-ins (`systemctl cat roundhouse-{name}`), or run `ansible-playbook site.yml`.",
    ),
    row(
        "no_cxx_compiler",
        r"InvalidCxxCompiler|No working C\+\+ compiler",
        "The engine compiled a kernel for this CPU, and the host has no C++ compiler.",
        "Install the package g++ (`apt-get install g++`), then run `roundhouse {name}`.",
    ),
    row(
        "no_compiler",
        r"No working C compiler|Failed to find C compiler",
        "The engine compiles kernels when it starts, and the host has no C compiler.",
        "Install the packages gcc and libc6-dev (`ansible-playbook site.yml --tags engine` does), or set "
        "enforce_eager: true for {name}.",
    ),
    row(
        "library_missing",
        r"init_cpu_memory_env|libnuma\S* cannot open|cannot open shared object file",
        "A library that the engine links to is not on the host.",
        "Run `ansible-playbook site.yml --tags engine`, which installs it.",
    ),
    row(
        "too_many_files",
        r"Too many open files$|\[Errno 24\] Too many open files(?!`)",
        "The engine may not open as many files as it has connections.",
        "The unit allows 65536; see `systemctl show -p LimitNOFILE roundhouse-{name}` for a drop-in that lowers it.",
    ),
    row(
        "engine_missing",
        r"Failed to locate executable|Failed at step EXEC|status=203/EXEC",
        "The engine's program is not on this host.",
        "Run `ansible-playbook site.yml --tags engine`.",
    ),
    row(
        "slow_start",
        r"Timed out waiting for engine core|start operation timed out",
        "The engine took longer to start than it is given.",
        "See in `roundhouse logs {name}` which phase took so long, and set agents_start_timeout_seconds to more than "
        "`roundhouse plan` shows.",
    ),
    ENGINE_FAULT,
    row(
        "canary_failed",
        None,
        "The engine came up and did not answer its canary as it should.",
        "Read its weights again with `roundhouse verify`, see `roundhouse logs {name}`, then run `roundhouse {name}`.",
        errors=CANARY,
    ),
    row(
        "engine_hangs",
        None,
        "The engine was ready and stopped answering, and its watchdog ended it.",
        "See what it did last with `roundhouse logs {name} -n 500`, and `roundhouse gpu`; its unit starts it again.",
        errors=("engine_hangs",),
    ),
    row(
        "engine_died",
        r"EngineDeadError|EngineCore encountered an issue",
        "The engine's core ended while it served; systemd starts it again.",
        "Look for the first error above it with `roundhouse logs {name} -n 500`.",
    ),
    *LAST,
)
# systemd's word for the end of a unit whose processes the kernel ended: that is the cause, whatever the log says.
OOM_KILL = "oom-kill"
# What systemd says of a unit's end, where no line of the log told more.
RESULTS = {"timeout": "slow_start", "start-limit-hit": "given_up"}
STATES = (
    row(
        "given_up",
        None,
        "systemd gave the agent up after too many starts in a row.",
        "Mend what `roundhouse logs {name}` shows, then run `roundhouse {name}`: it clears the limit.",
    ),
)
BY_CODE = {cause.code: cause for cause in (*CAUSES, *STATES)}
