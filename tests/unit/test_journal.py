"""The log of a unit, from stand-ins for journalctl and systemctl that record their arguments."""

import json

import pytest

from roundhouse.errors import RoundhouseError
from roundhouse.host import journal

SECOND = 1_795_607_186
START = "5f1c"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Return a function that puts journalctl and systemctl on the PATH, and the folder of their recorded arguments."""

    def put(*messages, status=0):
        rows = [{"__REALTIME_TIMESTAMP": str((SECOND + at) * 10**6), "MESSAGE": text} for at, text in messages]
        (tmp_path / "rows").write_text("\n".join(map(json.dumps, rows)) + "\n")
        shown = f"Id=roundhouse-dev.service\\nInvocationID={START}\\n"
        for name, answer in (("journalctl", f"cat {tmp_path}/rows"), ("systemctl", f"printf '{shown}'")):
            program = tmp_path / name
            program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}.words\n{answer}\nexit {status}\n')
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return tmp_path

    return put


def test_a_log_has_the_lines_of_each_message_oldest_first(programs):
    words = programs((1, "Traceback:\n  File x\nKeyError: 'it'"), (0, "begun"))
    assert journal.log("roundhouse-dev.service", 20) == ["begun", "Traceback:", "  File x", "KeyError: 'it'"]
    asked = (words / "journalctl.words").read_text()
    assert "--unit roundhouse-dev.service" in asked
    assert "--lines 20" in asked
    assert "--all" in asked  # otherwise journalctl omits a long message


def test_the_log_of_a_start_is_whole_and_of_that_start_alone(programs):
    words = programs((0, "begun"))
    assert journal.log_of_this_start("roundhouse-dev.service") == ["begun"]
    asked = (words / "journalctl.words").read_text()
    assert f"_SYSTEMD_INVOCATION_ID={START}" in asked
    assert "--lines all" in asked


def test_a_unit_that_never_started_has_no_log_of_a_start(programs):
    assert programs((0, "of another unit"))
    assert journal.log_of_this_start("roundhouse-po.service") == []


def test_an_unreadable_log_is_refused_with_its_unit(programs):
    programs(status=1)
    with pytest.raises(RoundhouseError) as refused:
        journal.print_log("roundhouse-dev.service", 20, follow=False)
    assert (refused.value.code, refused.value.fields) == ("journal_unreadable", {"unit": "roundhouse-dev.service"})
