"""The commands that systemd calls log an error as one line that ends with its code."""

import argparse

import pytest

from roundhouse.agents import start
from roundhouse.cli import main, unit_hooks
from roundhouse.doctor import cause, diagnosis
from roundhouse.errors import RoundhouseError, UsageError
from roundhouse.switch import failover

PLAN = {"agents": [{"name": "dev"}]}


def call(word, *, as_json=False, agent="dev"):
    return unit_hooks.WORDS[word](PLAN, argparse.Namespace(word=word, agent=agent, json=as_json))


def failing(error):
    def fail(*_):
        raise error

    return fail


def test_an_error_is_a_line_with_its_code_and_the_exit_status_is_its_own(monkeypatch, capsys):
    monkeypatch.setattr(start, "wait_until_healthy", failing(RoundhouseError("canary_changed", "dev answers no.")))
    with pytest.raises(SystemExit) as ended:
        call("ready")
    line = capsys.readouterr().err.rstrip("\n")
    assert (ended.value.code, line) == (1, "dev answers no. [canary_changed]")
    assert diagnosis.diagnose("dev", [line]).code == "canary_failed"


def test_the_end_by_systemd_is_a_consequence_and_no_cause(monkeypatch, capsys):
    monkeypatch.setattr(start, "wait_until_healthy", failing(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as ended:
        call("ready")
    line = capsys.readouterr().err.rstrip("\n")
    assert (ended.value.code, cause.code_of(line)) == (130, "interrupted")
    unit = diagnosis.Unit("failed", False, 0, None, "timeout", None, None, 0, False, None)
    assert "its log ends with: Loading" in diagnosis.cause("dev", unit, ["Loading", line]).evidence


def test_a_program_gets_the_error_itself(monkeypatch):
    monkeypatch.setattr(failover, "fail_over", failing(RoundhouseError("failover_failed", "No agent.")))
    with pytest.raises(RoundhouseError) as error:
        call("failover", as_json=True)
    assert error.value.code == "failover_failed"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["ready"], "argument_missing"),
        (["routes", "x"], "unexpected_argument"),
        (["control", "x"], "unexpected_argument"),
    ],
)
def test_a_missing_or_unexpected_argument_is_refused(words, code):
    with pytest.raises(UsageError) as error:
        main.parse(words)
    assert error.value.code == code


@pytest.mark.parametrize("line", ["plain", "a list [1, 2]", "[no_text_before]", "an index [7]", "upper [CASE]"])
def test_a_word_that_resembles_a_code_is_ignored(line):
    assert cause.code_of(line) is None
