"""The state after one run of site.yml: a valid plan, one active agent, manual pages, and the sandbox."""


def test_the_deployed_plan_is_valid(host):
    assert host.run("roundhouse --check /etc/roundhouse/plan.json").rc == 0


def test_the_first_agent_of_the_roster_is_active(serving):
    assert serving() == ["architect"]


def test_the_completion_and_man_page_equal_the_help(host):
    page, script = "/usr/local/share/man/man1/roundhouse.1", "/usr/share/bash-completion/completions/roundhouse"
    for path, word in ((page, "man"), (script, "completion")):
        file = host.file(path)
        assert (file.user, file.mode) == ("root", 0o644)
        assert file.content_string.strip() == host.check_output(f"roundhouse help {word}")
    asked = "COMP_WORDS=(roundhouse logs d); COMP_CWORD=2; _roundhouse; echo ${COMPREPLY[@]}"
    assert host.check_output("bash -c %s", f"source {script}; {asked}") == "dev"


def test_the_engine_serves_in_a_restrictive_sandbox(host, plan, serving):
    assert serving() == ["architect"]
    for agent in plan["agents"]:
        told = host.run("systemd-analyze security --no-pager %s", agent["unit"]).stdout
        assert float(told.strip().splitlines()[-1].split(": ")[1].split()[0]) <= 2.0, told
