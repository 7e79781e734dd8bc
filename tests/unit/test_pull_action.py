"""The play waits for a pull's background job on a host with an unreliable connection."""

import importlib.util
from types import SimpleNamespace

import pytest
from test_plugins import ROOT

from roundhouse.util.background_job import Watch

_spec = importlib.util.spec_from_file_location("pull_action", ROOT / "plugins/action/roundhouse_pull.py")
pull_action = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pull_action)

RUNS = {"finished": False, "started": True}
ENDED = {"finished": True, "changed": True}
# Ansible's result for an answer that was cut off.
CUT = {"failed": True, "msg": "Module result deserialization failed: No start of json char found"}


class Host(pull_action.ActionModule):
    """Replace Ansible's connection: answer the checks of the job and the queries of its status."""

    def __init__(self, looks, statuses):
        self.looks, self.statuses = iter(looks), iter(statuses)

    def _low_level_execute_command(self, command):
        return {"stdout": next(self.looks)}

    def _execute_module(self, *_, **how):
        return dict(next(self.statuses))

    def _remote_expand_user(self, path):
        return path

    def get_shell_option(self, name, default):
        return default

    def wait(self, watch):
        return self._wait("job", watch, {"inventory_hostname": "card"})


@pytest.fixture
def watch(tmp_path, clock, monkeypatch):
    clock(pull_action)
    shown = []
    monkeypatch.setattr(pull_action, "Display", lambda: SimpleNamespace(display=shown.append))
    watch = Watch(str(tmp_path / "job.jsonl"))
    watch.shown = shown
    return watch


def said(boot="one", process="running"):
    return f"boot {boot}\nprocess {process}\n"


def test_a_truncated_answer_does_not_end_the_job(watch):
    host = Host([said()] * 3, [RUNS, CUT, ENDED])
    assert host.wait(watch) == ENDED
    assert any("no connection (Module result" in line for line in watch.shown)


def test_a_job_that_a_restart_ended_is_reported_as_such(watch):
    host = Host([said(), said(), "", said(boot="two")], [RUNS, CUT, RUNS])
    ended = host.wait(watch)
    assert ended["failed"]
    assert (ended["code"], ended["fields"]["job"], ended["fields"]["host"]) == ("job_gone", "pull", "card")
    assert "because the host restarted" in ended["msg"]
    assert ended["remedy"] == pull_action.AGAIN
