"""The canary's reference answer belongs to one deployment and one question, and is renewed if either changes."""

import pytest

from roundhouse.agents import canary
from roundhouse.host import gpu
from roundhouse.state import serving
from roundhouse.vllm.client import Answer

PLAN = {"engine_path": "/opt/1", "runtime": "native"}
AGENT = {
    "name": "dev",
    "host": "127.0.0.1",
    "engine_port": 1,
    "model": "/m",
    "model_path": "/m",
    "environment": {},
    "config": {"max-model-len": 4096},
}


class Engine:
    """An engine that gives every question the same answer until a case changes it."""

    answer = Answer("yes", [1, 2])

    def canary(self, name, prompt, max_tokens, timeout_seconds):
        return self.answer


@pytest.fixture
def engine(monkeypatch, tmp_path):
    """Return an engine whose first answer is kept as the reference."""
    monkeypatch.setattr(serving, "FOLDER", tmp_path)
    monkeypatch.setattr(gpu, "loaded_driver", lambda: None)
    made = Engine()
    monkeypatch.setattr(canary, "Engine", lambda host, port: made)
    assert canary.verify(PLAN, AGENT) == "yes"
    made.answer = Answer("no", [3, 4])
    return made


def test_another_answer_of_the_same_deployment_is_refused(engine):
    with pytest.raises(canary.ChangedAnswer) as error:
        canary.verify(PLAN, AGENT)
    assert (error.value.code, error.value.answer) == ("canary_changed", "no")


@pytest.mark.parametrize(("name", "value"), [("PROMPT", "Another question."), ("MAX_TOKENS", 99)])
def test_another_question_leads_to_another_reference_answer(engine, monkeypatch, name, value):
    monkeypatch.setattr(canary, name, value)
    assert canary.verify(PLAN, AGENT) == "no"
    engine.answer = Answer("yes", [1, 2])
    with pytest.raises(canary.ChangedAnswer):
        canary.verify(PLAN, AGENT)


def test_another_engine_leads_to_another_reference_answer(engine):
    assert canary.verify(PLAN | {"engine_path": "/opt/2"}, AGENT) == "no"


def test_another_role_leads_to_another_reference_answer(engine):
    assert canary.verify(PLAN, AGENT | {"role_defaults": {"sampling": {}, "system_prompt": "You plan."}}) == "no"
