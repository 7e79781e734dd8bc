"""systemd restarts a crashed engine, and a boot starts the last active agent again."""

import docker


def engine(host):
    """Return dev's engine process and its state."""
    return host.check_output("systemctl show --property MainPID,ActiveState --value roundhouse-dev").split()


def test_a_crashed_engine_is_restarted(host, switch, timed):
    assert switch("dev")["rc"] == 0
    before = engine(host)
    host.check_output("kill -KILL %s", host.check_output("systemctl show --property MainPID --value roundhouse-dev"))
    timed("SIGKILL of its engine", before, 30)


def test_a_reboot_starts_the_last_active_agent(host, name, serving, switch, timed):
    assert serving() == ["dev"]
    boot = host.check_output("cat /proc/1/stat").split()[21]
    before = engine(host)

    docker.from_env().containers.get(name).restart(timeout=60)

    timed("the machine had stopped and began to boot", before, 60)
    assert host.check_output("cat /proc/1/stat").split()[21] != boot
    assert switch("dev")["changed"] is False
