"""Each engine has an account and a cache of its own, on the host, in a container and at a teardown."""

import pwd

import jinja2
import pytest

from roundhouse.host import docker
from roundhouse.paths import CHECKOUT
from roundhouse.plan import accounts, build, compose
from roundhouse.plan.decide import Host
from roundhouse.provision import agent_accounts, agent_files, host_state, teardown
from roundhouse.roster import fields, validate

SYSTEMD_LONGEST = 31  # the longest name of User= that systemd accepts
COMMON = {"models": [{"model": "/m"}], "max_model_len": 4096, "gpu_memory_utilization": 0.9}
COMMON |= {"temperature": 0.3, "top_p": 0.95}
MEMORY = 15


def plan(runtime="native"):
    roster = [{"name": name, "port": port, **COMMON} for name, port in (("dev", 8001), ("po", 8002))]
    settings = build.Settings("cpu", "/opt/engine", "/models", 60, None, runtime, "image@sha256:1")
    return build.build(roster, settings, Host(means=compose.Means(memory_gib=MEMORY)))


def unit(agent, made):
    loader = jinja2.FileSystemLoader(CHECKOUT / "roles/agents/templates")
    template = jinja2.Environment(loader=loader, trim_blocks=True).get_template("agent.service.j2")  # noqa: S701 - no HTML
    text = template.render(ansible_managed="x", agents_plan=made, **agent_files.variables(agent))
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def user(name, home, uid=990):
    return pwd.struct_passwd((name, "x", uid, uid, "", home, agent_accounts.SHELL))


def test_two_engines_share_neither_account_nor_cache():
    made = plan()
    dev, po = (unit(agent, made) for agent in made["agents"])
    for key in ("User", "Group", "CacheDirectory"):
        assert dev[key] != po[key]
    assert dev["CacheDirectoryMode"] == "0700"
    for agent in made["agents"]:
        assert agent["environment"]["VLLM_CACHE_ROOT"].startswith(f"/var/cache/{unit(agent, made)['CacheDirectory']}/")


def test_a_container_has_its_agents_cache_alone_and_a_part_of_the_memory():
    for agent in plan("compose")["agents"]:
        service = agent["compose"]["services"]["engine"]
        assert [each["source"] for each in service["volumes"] if not each.get("read_only")] == [
            service["environment"]["HOME"]
        ]
        assert service["environment"]["HOME"] == f"/var/cache/roundhouse/{agent['name']}"
        assert service["environment"]["USER"] == f"roundhouse-{agent['name']}"
        assert service["mem_limit"] == f"{MEMORY * 1024 * 9 // 10}m"
        assert service["pids_limit"] == compose.PIDS


def test_a_native_engine_has_the_same_part_of_the_memory():
    made = plan()
    assert unit(made["agents"][0], made)["MemoryMax"] == f"{compose.MEMORY_PERCENT}%"


@pytest.mark.parametrize(("total", "gib"), [(16 << 30, 16), ((16 << 30) - 4096, 15), (None, None)])
def test_the_hosts_memory_is_rounded_down_so_that_a_new_kernel_changes_no_plan(total, gib, monkeypatch):
    monkeypatch.setattr(docker, "info", lambda: {"MemTotal": total} if total else {})
    monkeypatch.setattr(docker.process, "output", lambda *command: None)
    assert docker.means()["memory_gib"] == gib


def test_the_longest_name_of_an_agent_makes_an_account_that_systemd_accepts():
    longest = "a" * fields.LONGEST_NAME
    assert len(accounts.account(longest)) == SYSTEMD_LONGEST
    agent = {"name": longest, "port": 8001, **COMMON}
    assert list(validate.problems([agent])) == []
    (problem,) = validate.problems([agent | {"name": longest + "a"}])
    assert f"at most {fields.LONGEST_NAME} letters" in problem


def test_no_agent_has_the_name_of_another_unit():
    units = [path.name for path in CHECKOUT.glob("roles/*/templates/*.service.j2")]
    names = {name.removeprefix("roundhouse-").partition(".")[0] for name in units}
    for name in names - {"roundhouse", "agent", "compose"}:  # the template of agents, and a part of it
        (problem,) = validate.problems([{"name": name, "port": 8001, **COMMON}])
        assert "a word that roundhouse uses" in problem


def test_only_missing_accounts_are_created():
    right = {"home": "/var/cache/roundhouse/dev", "shell": agent_accounts.SHELL, "uid": 990, "gid": 991}
    assert [each["name"] for each in agent_accounts.missing(plan(), {})] == ["roundhouse-dev", "roundhouse-po"]
    assert [each["name"] for each in agent_accounts.missing(plan(), {"roundhouse-dev": right})] == ["roundhouse-po"]
    other = right | {"home": "/home/dev"}
    assert agent_accounts.missing(plan(), {"roundhouse-dev": other})[0]["name"] == "roundhouse-dev"


def test_a_container_gets_the_ids_of_a_found_and_of_a_new_account():
    found = {"roundhouse-dev": {"uid": 990, "gid": 991}}
    made = [{"name": "roundhouse-po", "uid": 992, "group": 993}, {"name": "roundhouse-qa"}]
    assert agent_accounts.ids(found, made) == {"roundhouse-dev": "990:991", "roundhouse-po": "992:993"}


def test_a_teardown_removes_the_roles_accounts_and_no_others(monkeypatch):
    ours = [user("roundhouse-dev", "/var/cache/roundhouse/dev"), user("roundhouse", "/var/cache/roundhouse")]
    ours += [user("roundhouse-gateway", "/nonexistent")]
    others = [
        user("bob", "/var/cache/roundhouse/bob"),
        user("roundhouse-po", "/home/po"),
        user("nobody", "/nonexistent"),
    ]
    monkeypatch.setattr(pwd, "getpwall", lambda: [*ours, *others])
    assert teardown._users() == ["roundhouse", "roundhouse-dev", "roundhouse-gateway"]
    assert {"roundhouse-dev", "roundhouse-po"} <= host_state._users().keys()
    assert "bob" not in host_state._users()
