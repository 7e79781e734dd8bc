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


def test_the_last_agent_serves_again_after_a_restart_of_the_machine(host, name, serving, switch, eventually):
    assert serving() == ["dev"]
    boot = host.check_output("cat /proc/1/stat").split()[21]

    docker.from_env().containers.get(name).restart(timeout=60)

    eventually(lambda: host.run("systemctl is-active roundhouse-dev").stdout.strip() == "active", 180)
    assert host.check_output("cat /proc/1/stat").split()[21] != boot
    assert serving() == ["dev"]
    assert switch("dev")["changed"] is False


def test_an_engine_that_dies_is_started_again(host, serving, eventually):
    pid = host.check_output("systemctl show --property MainPID --value roundhouse-dev")

    host.check_output("kill -KILL %s", pid)

    def another() -> bool:
        now = host.check_output("systemctl show --property MainPID --value roundhouse-dev")
        return now not in ("0", pid) and host.run("systemctl is-active roundhouse-dev").stdout.strip() == "active"

    eventually(another, 120)
    assert serving() == ["dev"]
