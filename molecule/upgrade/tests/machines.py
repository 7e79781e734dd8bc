"""The hosts whose engine is upgraded: one with engines in folders, one with images of its own registry."""

from __future__ import annotations

import json
import signal
from typing import Any

from testinfra.host import Host

GATE = "/var/lib/lab/gate"  # an engine in a container sees this path too
FAULTS = "/var/lib/lab/faults"  # see lab/fake/vllm
# The recovery of systemd would compete with the next command of a slow case.
HELD_RECOVERY = "/run/systemd/system/roundhouse-journal.service.d"


class Machine:
    """The host under test, whose engines are folders."""

    runtime = "native"
    first = "/opt/lab-engine"

    def __init__(self, host: Host) -> None:
        self.host = host
        self.name = str(host.backend.hostname)
        self.staged = f"/var/lib/roundhouse/staged/{self.runtime}"

    def run(self, *words: str) -> dict[str, Any]:
        """Run the command with --json and return its object, with the exit status as `rc`."""
        result = self.host.run("roundhouse --json " + " ".join(words))
        return {**json.loads(result.stdout), "rc": result.rc}

    def deploy(self) -> dict[str, Any]:
        """Deploy the staged plan, as the play's last step does."""
        return self.run("deploy", self.staged)

    def refused(self, *words: str) -> str:
        """Run a command that must fail, and return its message."""
        answer = self.run(*words)
        assert answer["rc"] != 0, answer
        return str(answer["errors"][0]["message"])

    def killed(self, phase: str, *words: str) -> None:
        """Run the command and kill it with SIGKILL in a phase, which the gate holds. The case's command recovers."""
        self.host.check_output(
            f"mkdir -p {HELD_RECOVERY} && printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/sleep infinity\\n'"
            f" >{HELD_RECOVERY}/lab.conf && systemctl daemon-reload"
        )
        self.host.check_output(f"touch {GATE}")
        told = json.loads(self.host.check_output(f"lab-kill {phase} {signal.SIGKILL:d} {' '.join(words)}"))
        assert told["rc"] == -signal.SIGKILL
        self.host.check_output(f"rm {GATE}")

    def request(self) -> None:
        """Send a request to the architect in the background."""
        body = json.dumps({"model": "architect", "prompt": "go on", "max_tokens": 4})
        code = f"import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v1/completions', {body.encode()!r})"
        self.host.check_output("systemd-run --quiet --collect --unit lab-client python3 -c %s", code)
        running = "until roundhouse --json status | grep -q 'running.: 1'; do sleep 0.05; done"
        self.host.check_output("timeout 60 sh -c %s", running)

    def engine(self, version: str, faults: str = "") -> str:
        """Install an engine of that version with its faults, and return its name in a plan."""
        folder = f"/opt/lab-engines/{version}-lab"
        self.host.check_output(f"mkdir -p /opt/lab-engines && rm -rf {folder} && cp -a {self.first} {folder}")
        self.host.check_output(f"ln -sf /usr/bin/python3 {folder}/bin/python")  # the role engine checks this file
        self.fault(folder, faults)
        return folder

    def asking_for(self, engine: str) -> dict[str, str]:
        """Return the settings that select an engine."""
        return {"engine_path": engine}

    def named(self, engine: str) -> str:
        """Return the engine's name in messages."""
        return engine.rpartition("/")[2]

    def folder(self, engine: str) -> str:
        """Return the name of the engine's folder."""
        return engine.rpartition("/")[2]

    def lose(self, engine: str) -> str:
        """Remove an engine, and return the command's message about it."""
        self.host.check_output(f"rm -r {engine}")
        return f"its engine {engine} is missing"

    def fault(self, engine: str, options: str) -> None:
        """Give an engine a fault from its next start on."""
        self.host.check_output(f"mkdir -p {FAULTS} && echo %s > {FAULTS}/{self.folder(engine)}", options)

    def write(self, engine: str, start_timeout_seconds: int | None = None) -> None:
        """Write the deployed plan for another engine into the staging folder, as the role does."""
        edits = [f"s#{self.planned()}#{engine}#g"]
        if start_timeout_seconds:
            edits += [f"s/^TimeoutStartSec=.*/TimeoutStartSec={start_timeout_seconds}/"]
            edits += [f's/"start_timeout_seconds": [0-9]*/"start_timeout_seconds": {start_timeout_seconds}/']
        self.host.check_output(
            f"cd {self.staged} && cp /etc/roundhouse/plan.json . && for file in $(find agents -type f); do"
            ' cp "/${file#agents/*/}" "$file"; done &&'
            f" find plan.json agents -type f -exec sed -i '{'; '.join(edits)}' {{}} +"
        )

    def planned(self) -> str:
        """Return the engine of the deployed plan."""
        plan = json.loads(self.host.file("/etc/roundhouse/plan.json").content_string)
        return str(plan.get("image") or plan["engine_path"])

    def runs(self) -> tuple[list[str], str]:
        """Return the ready agents, and the engine of the deployed plan."""
        rows = self.run("status")["agents"]
        assert all(row["drift"] == [] for row in rows), rows
        return [row["agent"] for row in rows if row["state"] == "ready"], self.planned()

    def plans(self) -> list[str]:
        """Return the engines of the kept plans by their names in messages, the deployed one last."""
        return [row["engine"] for row in self.run("plans")["plans"]]

    def files(self) -> str:
        """Return a hash of each file that a deployment may replace."""
        return self.host.check_output("sha256sum /etc/roundhouse/plan.json /etc/roundhouse/agents/* "
                                      "/etc/systemd/system/roundhouse-*.service")  # fmt: skip


class ImagesMachine(Machine):
    """The host whose engines are images of a registry on its own loopback."""

    runtime = "compose"
    repository = "localhost:5000/vllm"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.first = self.image("v0.32.0")

    def image(self, tag: str, note: str = "") -> str:
        """Push an image and return its name in a plan."""
        digest = self.host.check_output(f"lab-image {tag} {note}").rpartition("@")[2]
        return f"{self.repository}:{tag}@{digest}"

    def engine(self, version: str, faults: str = "") -> str:
        """Push an image of that version with its faults, and return its name in a plan."""
        image = self.image(f"v{version}")
        self.fault(image, faults)
        return image

    def asking_for(self, engine: str) -> dict[str, str]:
        """Return the setting that selects the tag."""
        return {"container_image": engine.partition("@")[0]}

    def named(self, engine: str) -> str:
        """Return the name with the beginning of its digest."""
        name, _, digest = engine.partition("@sha256:")
        return f"{name}@{digest[:12]}"

    def folder(self, engine: str) -> str:
        """Return the name of the folder in the image."""
        return engine.partition("@")[0].rpartition(":v")[2] + "-lab"

    def lose(self, engine: str) -> str:
        """Remove an image, and return the command's message about it."""
        self.host.check_output(f"docker rmi --force $(docker image inspect --format '{{{{.Id}}}}' {engine})")
        return f"its image {engine} is missing"
