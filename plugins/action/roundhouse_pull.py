"""Ansible action: run the module of the same name in the background of the host, and say how far it is.

Ansible shows what a task printed when it has ended, and a pull takes an hour. So the task is `async`,
and this is what waits for it: every few seconds it reads the last line of the module's progress and
displays it. A play that is interrupted leaves the pull running; the next one waits for it and says so.
"""

from __future__ import annotations

import json
import secrets
import shlex
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

LOOK_SECONDS = 3.0
# A line at least so often, also when the text is the same.
SAY_SECONDS = 10.0


class ActionModule(ActionBase):
    """Starts, waits, returns the module's own result."""

    _supports_async = True
    word = "pull"

    def would(self) -> str:
        """Return what it would do, for check mode."""
        wishes = self._task.args["wishes"]
        return "would pull " + ", ".join(f"{wish['model']} at {wish['revision']}" for wish in wishes)

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        if self._task.check_mode:
            return result | {"changed": True, "diff": {"prepared": self.would()}}
        progress = f"/run/roundhouse/{self.word}-{secrets.token_hex(8)}.jsonl"
        arguments = {**self._task.args, "progress_path": progress}
        started = self._execute_module(f"roundhouse_{self.word}", arguments, task_vars=task_vars, wrap_async=True)
        if "ansible_job_id" not in started:
            return result | started
        ended = self._wait(started["ansible_job_id"], progress, task_vars)
        self._status(started["ansible_job_id"], "cleanup", task_vars)
        return result | {key: value for key, value in ended.items() if not key.startswith("ansible_job")}

    def _wait(self, job: str, progress: str, task_vars: Any) -> dict[str, Any]:
        """Return the job's result; say meanwhile how far it is."""
        host, said, said_at = task_vars["inventory_hostname"], "", time.monotonic()
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                status = self._status(job, "status", task_vars)
                text = self._text(progress)
            except AnsibleConnectionFailure as error:  # the job goes on without us
                status, text = {}, f"no connection ({error}): trying again"
            if status.get("finished"):
                return status
            if status.get("failed"):  # no such job: its file is gone, as after a reboot
                return status | {
                    "msg": f"the job {job} of {self.word} is gone ({status.get('msg')}): run the play again."
                }
            if text and (text != said or time.monotonic() - said_at >= SAY_SECONDS):
                Display().display(f"{host}: {text}")
                said, said_at = text, time.monotonic()

    def _status(self, job: str, mode: str, task_vars: Any) -> dict[str, Any]:
        folder = self._remote_expand_user(self.get_shell_option("async_dir", default="~/.ansible_async"))
        arguments = {"jid": job, "mode": mode, "_async_dir": folder}
        found: dict[str, Any] = self._execute_module(
            "ansible.legacy.async_status", arguments, task_vars=task_vars, wrap_async=False
        )
        return found

    def _text(self, progress: str) -> str:
        read = self._low_level_execute_command(f"tail -n 1 {shlex.quote(progress)}")
        line = read["stdout"].strip()
        return json.loads(line)["text"] if line.endswith("}") else "starting"
