"""A deployment with fake units and engines and real files: deployed files, kept plans, and rollback."""

import json
import re

import pytest
from refusal import refused
from test_switch import FakeHost

from roundhouse.agents import canary as agents_canary
from roundhouse.agents import drain, prestart_checks
from roundhouse.errors import RoundhouseError, UsageError
from roundhouse.gateway import config as gateway_config
from roundhouse.gateway import haproxy, on_demand
from roundhouse.host import journal, systemd
from roundhouse.plan import deployed, measured, plan_sets, roles
from roundhouse.state import history, serving
from roundhouse.switch import deploy, deploy_journal, deploy_preview, resume, transaction
from roundhouse.vllm.client import Answer, Load

NAMES = ("architect", "dev")


def planned(tmp_path, engine, names=NAMES, second_card=(), **settings):
    cards = {name: int(name in second_card) for name in names}
    agents = [
        {
            **{
                "name": name,
                "unit": deployed.unit_name(name),
                "host": "127.0.0.1",
                "port": 8000 + len(name),
                "model": "/m",
            },
            **{"model_path": "/m", "conflicts": rivals(name, cards), "environment": {}},
            **{"config_path": f"{tmp_path}/etc/{name}.yaml", "gpus": [cards[name]], "gpu_memory_utilization": 0.9},
            **{"config": {"max-model-len": 4096, **settings}, "start_timeout_seconds": 100},
        }
        for name in names
    ]
    return {"schema": 1, "runtime": "native", "engine_path": engine, "gateway_port": 8080, "agents": agents}


def rivals(name, cards):
    return [other for other, card in cards.items() if other != name and card == cards[name]]


@pytest.fixture
def stage(tmp_path):
    """Return a function that writes a plan's files to a folder and reads them, as the role and the command do."""

    def write(engine="/opt/1", names=NAMES, second_card=(), role=None, **settings):
        made = planned(tmp_path, engine, names, second_card, **settings)
        folder = tmp_path / "staged"
        for agent in made["agents"]:
            root = folder / "agents" / agent["name"]
            unit = f"{tmp_path}/units/{agent['unit']}".lstrip("/")
            if role:
                agent["role_defaults"] = role
            rivals = "".join(f"Conflicts={name}\n" for name in agent["conflicts"])
            for path, text in (
                (agent["config_path"].lstrip("/"), json.dumps(agent["config"])),
                (unit, f"[Unit]\n{rivals}[Service]\nExecStart={engine}\n"),
                *((path.lstrip("/"), text) for path, text in roles.files(agent).items()),
            ):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
        (folder / "plan.json").write_text(json.dumps(made))
        return plan_sets.read(folder)

    return write


@pytest.fixture
def host(tmp_path, monkeypatch):
    fake = FakeHost([dict(agent) for agent in planned(tmp_path, "/opt/1", (*NAMES, "qa"))["agents"]])
    by_port = {agent["port"]: agent for agent in fake.agents.values()}
    fake.bad_engines = set()

    class Engine:
        def __init__(self, host, port):
            self.unit = by_port[port]["unit"]

        def canary(self, name, prompt, max_tokens, timeout_seconds):
            if (tmp_path / "units" / self.unit).read_text().rpartition("=")[2].strip() in fake.bad_engines:
                raise RoundhouseError("canary", f"{name} answered rubbish.")
            return Answer("text", [1, 2])

        def listens(self):
            return self.unit in fake.up

        def load(self, timeout_seconds):
            return Load(0, 0, 0.0) if self.unit in fake.up else None

    for name in ("show", "show_all", "start", "stop"):
        monkeypatch.setattr(systemd, name, getattr(fake, name))
    monkeypatch.setattr(systemd, "reload", lambda: fake.happened.append("reload"))
    monkeypatch.setattr(systemd, "reset_failed", lambda unit: None)
    monkeypatch.setattr(journal, "log_of_this_start", lambda unit: ["ValueError: no memory"])
    for room in (agents_canary, drain):
        monkeypatch.setattr(room, "Engine", Engine)
    monkeypatch.setattr(prestart_checks, "check_host", fake.check)
    monkeypatch.setattr(resume, "check", fake.check)
    monkeypatch.setattr(transaction, "check", fake.check)
    monkeypatch.setattr(resume, "is_outdated", lambda planned, agent, unit: False)
    monkeypatch.setattr(measured, "PATH", tmp_path / "measured.json")
    monkeypatch.setattr(systemd, "FOLDER", f"{tmp_path}/units")
    monkeypatch.setattr(deployed, "PATH", tmp_path / "plan.json")
    monkeypatch.setattr(roles, "FOLDER", f"{tmp_path}/roles")
    monkeypatch.setattr(plan_sets, "FOLDER", tmp_path / "plans")
    monkeypatch.setattr(serving, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(serving, "FOLDER", tmp_path / "state")
    monkeypatch.setattr(gateway_config, "FOLDER", str(tmp_path / "gateway"))
    monkeypatch.setattr(haproxy, "RUNTIME", str(tmp_path / "run"))
    monkeypatch.setattr(on_demand, "PATH", tmp_path / "demand.json")
    return fake


def put(found):
    said = []
    return deploy.deploy(found, said.append)


def engine_in_place():
    return json.loads(deployed.PATH.read_text())["engine_path"]


def test_the_first_plan_is_put_in_place_and_its_first_agent_serves(host, stage):
    done = put(stage())
    assert (done["moved"], done["changed"], done["serving"]) == (True, ["architect"], ["architect"])
    assert [(row["engine"], row["state"]) for row in plan_sets.rows()] == [("1", "in place")]
    again = put(stage())
    assert (again["moved"], again["changed"]) == (False, [])


def test_the_active_agent_is_stopped_before_the_files_are_replaced_and_started_after(host, stage):
    put(stage())
    host.happened.clear()
    done = put(stage("/opt/2"))
    assert (done["changed"], engine_in_place()) == (["architect"], "/opt/2")
    unit = "roundhouse-architect.service"
    assert host.happened == [f"stop {unit}", "reload", f"start {unit}"]
    assert [row["engine"] for row in plan_sets.rows()] == ["1", "2"]
    assert history.load()[-1].outcome == history.DONE
    assert deploy_journal.killed() is None


def test_an_engine_with_unreadable_answers_is_rolled_back(host, stage):
    put(stage())
    before = plan_sets.on_host()
    host.bad_engines.add("/opt/2")
    with pytest.raises(
        RoundhouseError, match=r"answered rubbish\. .* is in place again\. architect is active"
    ) as error:
        put(stage("/opt/2"))
    assert error.value.code == history.load()[-1].code == "canary"
    assert re.search(r"The inventory still describes the plan \w{8}: the next `ansible-", error.value.remedy)
    assert error.value.remedy.endswith("change the inventory before that (engine: 2 -> 1).")
    assert plan_sets.on_host() == before
    assert host.names() == ["architect"]
    assert history.load()[-1].outcome == history.ROLLED_BACK
    assert [row["engine"] for row in plan_sets.rows()] == ["1"]
    assert deploy_journal.killed() is None


def test_a_rolled_back_plan_removes_its_new_agent(host, stage, tmp_path):
    put(stage())
    host.broken.add("roundhouse-architect.service")
    with pytest.raises(RoundhouseError) as error:
        put(stage("/opt/2", (*NAMES, "qa")))
    assert error.value.code == history.load()[-1].code == "rollback_failed"
    assert not (tmp_path / "units/roundhouse-qa.service").exists()
    assert engine_in_place() == "/opt/1"
    host.broken.clear()
    assert put(stage("/opt/2"))["serving"] == ["architect"]


def test_a_refused_deployment_changes_nothing(host, stage):
    put(stage())
    host.happened.clear()
    host.refuse = "no such model."
    with pytest.raises(RoundhouseError, match="no such model"):
        put(stage("/opt/2"))
    assert (host.happened, engine_in_place()) == ([], "/opt/1")


def test_another_agent_in_the_roster_restarts_none(host, stage):
    put(stage())
    host.happened.clear()
    found = stage("/opt/1", (*NAMES, "qa"))
    assert (put(found)["changed"], host.happened) == ([], ["reload"])
    assert not found.restarts("architect")
    assert stage("/opt/1", max_num_seqs=1).restarts("architect")


def test_a_changed_role_is_put_in_place_without_a_restart(host, stage, tmp_path):
    put(stage(role={"sampling": {"temperature": 0.3}}))
    host.happened.clear()
    found = stage(role={"sampling": {"temperature": 0.9}, "system_prompt": "You plan."})
    assert deploy_preview.next_run.differences(plan_sets.on_host().plan, found.plan) == [
        f"{name}: {change}"
        for name in NAMES
        for change in ("temperature: 0.3 -> 0.9", "system_prompt: none -> You plan.")
    ]
    done = put(found)
    assert (done["moved"], done["changed"], host.happened) == (True, [], ["reload"])
    held = json.loads((tmp_path / "roles/architect/defaults.json").read_text())
    assert held == {"architect": {"sampling": {"temperature": 0.9}, "system_prompt": "You plan."}}
    assert done["serving"] == ["architect"]


def test_a_changed_middleware_restarts_the_agent(host, stage, tmp_path):
    put(stage(role={"sampling": {}}))
    (tmp_path / "roles/architect/roundhouse_roles.py").write_text("")
    assert plan_sets.current()[0].restarts("architect")


def test_a_set_without_the_middleware_of_its_agent_is_refused(host, stage, tmp_path):
    stage(role={"sampling": {}})
    next((tmp_path / "staged/agents/architect").rglob("roundhouse_roles.py")).unlink()
    with refused("plan_file_lost", agent="architect"):
        plan_sets.read(tmp_path / "staged")


def test_an_agent_that_left_the_roster_is_stopped_and_removed(host, stage, tmp_path):
    put(stage())
    done = put(stage("/opt/1", ("dev",)))
    assert (done["serving"], host.names()) == (["dev"], ["dev"])
    assert not (tmp_path / "units/roundhouse-architect.service").exists()


@pytest.mark.parametrize("word", ["deploy", "resume", "switch"])
def test_a_deployment_killed_half_way_is_completed_or_rolled_back(host, stage, word):
    put(stage())
    old, new = plan_sets.on_host(), stage("/opt/2")
    new.keep(plan_sets.folder(new.name))
    deploy_journal.begin(old, new, ["architect"])
    host.up.clear()
    new.put(old)
    if word == "deploy":
        assert put(stage("/opt/2"))["serving"] == ["architect"]
    elif word == "resume":
        assert resume.resume(lambda text: None)["serving"] == ["architect"]
    else:
        assert transaction.ensure_ready(new.plan, "dev", lambda text: None)["changed"]
    assert engine_in_place() == ("/opt/2" if word == "deploy" else "/opt/1")
    assert deploy_journal.killed() is None


def test_a_boot_after_a_kill_starts_the_plan_that_served(host, stage):
    put(stage())
    old, new = plan_sets.on_host(), stage("/opt/2")
    new.keep(plan_sets.folder(new.name))
    deploy_journal.begin(old, new, ["architect"])
    new.put(old)
    host.up.clear()
    assert resume.start_only(lambda text: None) == ["architect"]
    assert engine_in_place() == "/opt/1"


def test_a_deployment_killed_after_its_commit_is_completed(host, stage):
    put(stage())
    old = plan_sets.on_host()
    put(stage("/opt/2"))
    deploy_journal.begin(old, plan_sets.on_host(), ["architect"])
    resume.resume(lambda text: None)
    assert (engine_in_place(), deploy_journal.killed()) == ("/opt/2", None)


def test_a_rollback_deploys_the_previous_plan(host, stage):
    with pytest.raises(UsageError) as error:
        plan_sets.before()
    assert error.value.code == "no_earlier_plan"
    for number in range(1, 8):
        put(stage(f"/opt/{number}"))
    assert [row["engine"] for row in plan_sets.rows()] == ["4", "5", "6", "7"]
    put(plan_sets.before())
    assert [row["engine"] for row in plan_sets.rows()] == ["4", "5", "7", "6"]
    named = plan_sets.load()[0].name
    put(plan_sets.before(named))
    assert engine_in_place() == "/opt/4"
    with pytest.raises(UsageError) as error:
        plan_sets.before("other")
    assert (error.value.code, error.value.fields["plan"]) == ("unknown_plan", "other")


def test_the_preview_states_the_differences_and_the_longest_duration(host, stage, monkeypatch):
    put(stage())
    new = stage("/opt/2", **{"max-model-len": 2048})
    seen = deploy_preview.preview(deploy.prepare(new, plan_sets.on_host(), None, 30, lambda text: None))
    assert seen.differences[:2] == ["engine: 1 -> 2", "architect: max-model-len: 4096 -> 2048"]
    # The drain, one second per stop for its grace period, and two starts with their longest waits.
    bound = 30 + 2 * drain.GRACE_SECONDS + 2 * (30 + 100 + agents_canary.TIMEOUT_SECONDS + 5)
    assert seen.at_most_seconds == bound
    assert f"(at most {bound:.0f} s, including a rollback)." in seen.text()[-1]


def test_a_plan_without_its_engine_or_model_is_reported(host, stage):
    lost = deploy_preview.missing(stage("/opt/none"))
    assert lost[0].startswith("its engine /opt/none is missing")
    assert "/m" in lost[1]


def test_a_set_of_plan_files_that_lacks_a_file_is_refused(stage, tmp_path, host):
    stage()
    path = next((tmp_path / "staged/agents/dev").rglob("*.service"))
    path.unlink()
    with pytest.raises(RoundhouseError, match=r"lacks .*roundhouse-dev.service of dev"):
        plan_sets.read(tmp_path / "staged")
