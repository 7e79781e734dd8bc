"""Ansible action: run the module of the same name in the background of the host, and report its progress.

Ansible shows a task's output only at its end, and a pull takes up to an hour. So the task is `async`, and this action
waits for it. Every few seconds it reads the last line of the module's progress and displays it. An interrupted play
leaves the pull running; the next play waits for it and reports this.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from roundhouse.errors import RoundhouseError
from roundhouse.util import progress
from roundhouse.util.background_job import Watch

# The first check comes early, because most jobs of a small model end at once; each wait is twice the one before.
FIRST_CHECK_SECONDS, CHECK_SECONDS = 1.0, 3.0
# A line at least every 15 s, also when the text is the same: this, one more wait, and two answers of a slow host.
SAY_SECONDS = 7.0
# A host that restarts is away for some minutes; one that is away for longer needs a person.
AWAY_SECONDS = 1800.0
AGAIN = "What came is kept: run the play again."


class ActionModule(ActionBase):
    """Starts, waits, returns the module's own result."""

    _supports_async = True
    _supports_check_mode = True
    word = "pull"  # the module is roundhouse_WORD
    job = ""  # the name of the job in messages; the word if empty

    def would(self) -> str:
        """Return what it would do, for check mode."""
        required = self._task.args["required_models"] + self._task.args.get("results", [])
        pulled = ", ".join(f"{each['model']} at {each['revision']}" for each in required)
        return f"would pull {pulled}" if pulled else "would rename the folder of quantized models"

    def check(self, arguments: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        """Return the result in check mode."""
        return {"changed": True, "diff": {"prepared": self.would()}}

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if "environment" in arguments:
            # As one string it is one secret: each value of a dict would be hidden in every text, a "1" too.
            arguments["environment"] = json.dumps(arguments["environment"])
        if self._task.check_mode:
            return result | self.check(arguments, task_vars)
        watch = Watch(f"/run/roundhouse/{self.word}-{secrets.token_hex(8)}.jsonl")
        self._check(watch)  # before it starts, for the host's boot
        arguments["progress_path"] = watch.path
        started = self._execute_module(f"roundhouse_{self.word}", arguments, task_vars=task_vars, wrap_async=True)
        if "ansible_job_id" not in started:
            return result | started
        ended = self._wait(started["ansible_job_id"], watch, task_vars)
        self._status(started["ansible_job_id"], "cleanup", task_vars)
        return result | {key: value for key, value in ended.items() if not key.startswith("ansible_job")}

    def _wait(self, job: str, watch: Watch, task_vars: Any) -> dict[str, Any]:
        """Return the job's result, and report its progress meanwhile."""
        host, said, said_at, seen_at = task_vars["inventory_hostname"], "", time.monotonic(), time.monotonic()
        wait = FIRST_CHECK_SECONDS
        while True:
            time.sleep(wait)
            wait = min(2 * wait, CHECK_SECONDS)
            try:
                event = self._check(watch)
                if not watch.answered:  # not every kind of connection raises an error then
                    raise AnsibleConnectionFailure("no answer")
                status = self._status(job, "status", task_vars)
                if "finished" not in status:  # cut off in the middle of the answer, as by a restart of the host
                    raise AnsibleConnectionFailure(str(status.get("msg", "no answer")))
                seen_at = time.monotonic()
            except AnsibleConnectionFailure as error:  # the job continues on the host
                status, event = {}, {"event": "note", "text": f"no connection ({error}): trying again"}
            if status.get("finished"):
                return status
            if time.monotonic() - seen_at > AWAY_SECONDS:
                text, minutes = "{host} was not reached for {minutes} min.", round(AWAY_SECONDS / 60)
                return RoundhouseError("host_away", text, AGAIN, host=host, minutes=minutes).as_result()
            if lost := watch.lost():
                text, name = "The {job} on {host} is gone: {why}.", self.job or self.word
                return RoundhouseError("job_gone", text, AGAIN, job=name, host=host, why=lost).as_result()
            if event["text"] != said or time.monotonic() - said_at >= SAY_SECONDS:
                Display().display(progress.display_line(host, event))
                said, said_at = event["text"], time.monotonic()

    def _status(self, job: str, mode: str, task_vars: Any) -> dict[str, Any]:
        folder = self._remote_expand_user(self.get_shell_option("async_dir", default="~/.ansible_async"))
        arguments = {"jid": job, "mode": mode, "_async_dir": folder}
        found: dict[str, Any] = self._execute_module(
            "ansible.legacy.async_status", arguments, task_vars=task_vars, wrap_async=False
        )
        return found

    def _check(self, watch: Watch) -> progress.Event:
        found: Any = watch.update(self._low_level_execute_command(watch.command())["stdout"])
        return progress.Event(event="note", text="starting") if found is None else found
