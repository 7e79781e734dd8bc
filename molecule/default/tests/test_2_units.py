"""systemd alone keeps one agent on the card, in order, and brings the last one back."""

import docker


def stamp(host, unit: str, what: str) -> int:
    """Return a time of the unit in microseconds since boot."""
    return int(host.check_output("systemctl show --property %s --value %s", what, unit))


def test_starting_a_unit_alone_stops_the_one_that_serves_first(host, serving):
    (before,) = serving()
    assert before != "dev"

    host.check_output("systemctl start roundhouse-dev")

    assert serving() == ["dev"]
    stopped = stamp(host, f"roundhouse-{before}", "InactiveEnterTimestampMonotonic")
    started = stamp(host, "roundhouse-dev", "ExecMainStartTimestampMonotonic")
    assert 0 < stopped <= started


def engine(host):
    """Return dev's state and its engine's process."""
    return host.check_output("systemctl show --property MainPID,ActiveState --value roundhouse-dev").split()


def test_the_last_agent_serves_again_after_a_restart_of_the_machine(host, name, serving, switch, timed):
    assert serving() == ["dev"]
    boot = host.check_output("cat /proc/1/stat").split()[21]
    before = engine(host)

    docker.from_env().containers.get(name).restart(timeout=60)

    timed("the machine had stopped and began to boot", before, 30)
    assert host.check_output("cat /proc/1/stat").split()[21] != boot
    assert switch("dev")["changed"] is False


def test_an_engine_that_dies_is_started_again(host, timed):
    before = engine(host)
    host.check_output("kill -KILL %s", host.check_output("systemctl show --property MainPID --value roundhouse-dev"))
    timed("SIGKILL of its engine", before, 10)


def test_an_engine_whose_core_is_stopped_is_started_again_though_its_api_says_that_it_is_healthy(host, plan, timed):
    before = engine(host)
    core = host.check_output("pgrep --full VLLM::EngineCor[e]")
    # The unit's own in one runtime, the slice of its container in the other.
    assert "roundhouse-dev." in host.check_output("cat /proc/%s/cgroup", core)
    host.check_output("kill -STOP %s", core)
    (agent,) = [each for each in plan["agents"] if each["name"] == "dev"]
    url = f"http://127.0.0.1:{agent['port']}/health"
    answered = host.check_output("python3 -c %s", f"import urllib.request as u; print(u.urlopen({url!r}).status)")
    assert answered == "200"
    # Three rounds of the guard, which may have just looked.
    timed("SIGSTOP of its engine's core", before, 4 * 30)


def test_the_sandbox_leaves_little_open_and_the_engine_serves_in_it(host, plan, serving):
    assert serving() == ["dev"]
    for agent in plan["agents"]:
        told = host.run("systemd-analyze security --no-pager %s", agent["unit"]).stdout
        assert float(told.strip().splitlines()[-1].split(": ")[1].split()[0]) <= 2.0, told
