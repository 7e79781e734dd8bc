"""Provide the table of doctor: from a log line, an exit or a host's state to one cause and its remedy.

The first row that matches names the cause. The kernel's messages about memory and cards come first, then special rows
before general ones. Lines that a log may contain for another reason come last. The patterns match messages of vLLM
0.32, PyTorch, systemd, Docker and the kernel. Log text is not an interface, so each pattern is as short as possible.
"""

from __future__ import annotations

from .cause import row
from .causes_gpu import ENGINE_FAULT, HOST_MEMORY, OF_THE_CARD
from .causes_model import CAUSES as OF_THE_MODEL
from .causes_model import LAST

# Codes of a failed canary, as vllm/client.py and agents/canary.py raise them; older versions wrote "canary".
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
        "Find it with `df -h /var/cache/roundhouse /var/lib/roundhouse /tmp` and free space.",
    ),
    row(
        "port_in_use",
        r"[Aa]ddress already in use|EADDRINUSE|port is already allocated",
        "Another program listens on the agent's port.",
        "Find it with `ss -ltnp` and stop it, or give {name} another port in the roster.",
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
        "The engine was not built for this GPU generation.",
        "Run `ansible-playbook site.yml`, which installs the pinned engine. GPUs before Turing are not supported.",
    ),
    row(
        "no_card",
        r"No CUDA GPUs are available|Found no NVIDIA driver|Failed to infer device type|CUDA unknown error",
        "The engine finds no GPU: the driver is not loaded, or its device files are missing.",
        "Run `ansible-playbook site.yml --tags host`. Then `nvidia-smi` must list the GPU.",
    ),
    row(
        "container_without_card",
        r"could not select device driver|nvidia-container-cli|unresolvable CDI devices|unknown runtime.*nvidia",
        "The container engine cannot pass the GPU to a container.",
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
        "The container engine is not running.",
        "Start it with `systemctl start docker`. The agents' units then start their containers.",
    ),
    row(
        "unknown_option",
        r"unrecognized arguments|error: argument --",
        "The agent's configuration has an option that this engine does not know.",
        "The file was edited by hand or written for another version. Run `ansible-playbook site.yml`.",
    ),
    row(
        "unknown_variable",
        r"Unknown vLLM environment variable",
        "The unit sets a VLLM_ variable that this engine does not know.",
        "Remove it from the unit's drop-ins (`systemctl cat roundhouse-{name}`), or run `ansible-playbook site.yml`.",
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
        "A library that the engine needs is not installed.",
        "Run `ansible-playbook site.yml --tags engine`, which installs it.",
    ),
    row(
        "too_many_files",
        r"Too many open files$|\[Errno 24\] Too many open files(?!`)",
        "The engine reached its limit of open files.",
        "The unit allows 65536. `systemctl show -p LimitNOFILE roundhouse-{name}` shows whether a drop-in lowers it.",
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
        "The engine was not ready within its start timeout.",
        "Find the slow phase in `roundhouse logs {name}`, and set agents_start_timeout_seconds above the value that "
        "`roundhouse plan` shows.",
    ),
    ENGINE_FAULT,
    row(
        "canary_failed",
        None,
        "The engine started, and its canary answer was wrong or missing.",
        "Verify its weights with `roundhouse verify`, read `roundhouse logs {name}`, then run `roundhouse {name}`.",
        errors=CANARY,
    ),
    row(
        "engine_hangs",
        None,
        "The engine stopped answering, and its watchdog killed it. Its unit restarts it.",
        "Read its last messages with `roundhouse logs {name} -n 500`, and check `roundhouse gpu`.",
        errors=("engine_hangs",),
    ),
    row(
        "engine_died",
        r"EngineDeadError|EngineCore encountered an issue",
        "The engine's core ended at run time. systemd restarts the engine.",
        "Find the first error before that line with `roundhouse logs {name} -n 500`.",
    ),
    *LAST,
)
# systemd's result of a unit whose processes the kernel killed. It decides, whatever the log contains.
OOM_KILL = "oom-kill"
# systemd's results of a unit, used if no line of the log matches a row.
RESULTS = {"timeout": "slow_start", "start-limit-hit": "given_up"}
STATES = (
    row(
        "given_up",
        None,
        "systemd gave the agent up after too many starts in a row.",
        "Fix the error that `roundhouse logs {name}` shows, then run `roundhouse {name}`, which clears the limit.",
    ),
)
BY_CODE = {cause.code: cause for cause in (*CAUSES, *STATES)}
