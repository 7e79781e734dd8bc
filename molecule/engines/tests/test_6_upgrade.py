"""An upgrade restarts the active agent with the changed setting, and the rollback restores the setting.

A change of the agent's role alone restarts nothing.
"""

import copy
import json
import re

import pytest

from roundhouse.plan import plan_sets


def said(result):
    """Return a play's output as one line."""
    return " ".join(result.stdout.split())


def started(host, agent):
    return host.check_output(f"systemctl show --property ExecMainStartTimestampMonotonic --value roundhouse-{agent}")


@pytest.fixture
def sequences(host):
    """Return a function that returns dev's deployed max_num_seqs."""
    return lambda: next(
        agent["max_num_seqs"]
        for agent in json.loads(host.file("/etc/roundhouse/plan.json").content_string)["agents"]
        if agent["name"] == "dev"
    )


def test_a_changed_role_answers_without_a_restart(host, serving, roster, play, client, plan):
    before, changed = started(host, "dev"), copy.deepcopy(roster)
    changed[1] |= {"temperature": 0, "max_tokens": 6, "system_prompt": "You review code."}
    (port,) = (agent["port"] for agent in plan["agents"] if agent["name"] == "dev")
    asked = {"model": "dev", "messages": [{"role": "user", "content": "Hello"}], "extra_body": {"ignore_eos": True}}
    bare = client(port).chat.completions.create(**asked, max_tokens=6)
    result = play({"agents": changed}, "site.yml")
    assert result.returncode == 0, result.stdout
    assert serving() == ["dev"]
    assert started(host, "dev") == before
    answers = [client(port).chat.completions.create(**asked) for _ in range(2)]
    assert [answer.usage.completion_tokens for answer in answers] == [6, 6]
    assert answers[0].usage.prompt_tokens > bare.usage.prompt_tokens
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content
    assert play({"agents": roster}, "site.yml").returncode == 0
    assert started(host, "dev") == before


def test_a_changed_setting_restarts_the_active_agent(host, serving, roster, play, switch, sequences):
    plans, before, changed = len(switch("plans")["plans"]), started(host, "dev"), copy.deepcopy(roster)
    changed[1]["max_num_seqs"] = roster[1]["max_num_seqs"] // 2
    result = play({"agents": changed}, "playbooks/upgrade.yml")
    assert result.returncode == 0, result.stdout
    assert "dev: max-num-seqs: " in said(result)
    assert serving() == ["dev"]
    assert started(host, "dev") != before
    assert sequences() == changed[1]["max_num_seqs"]
    assert len(switch("plans")["plans"]) == min(plans + 1, plan_sets.KEEP)


def test_the_rollback_restores_the_setting(host, serving, roster, play, sequences):
    before = started(host, "dev")
    result = play({}, "playbooks/rollback.yml")
    assert result.returncode == 0, result.stdout
    assert re.search(r"The plan [0-9a-f]{8} is deployed\. Active agents: dev\.", said(result))
    assert serving() == ["dev"]
    assert started(host, "dev") != before
    assert sequences() == roster[1]["max_num_seqs"]
