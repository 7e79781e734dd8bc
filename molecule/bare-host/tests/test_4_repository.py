"""An untrusted or unreadable repository is refused, and the installed driver keeps running."""

ONLY = "trixie"
SOURCE = "/etc/apt/sources.list.d/roundhouse-nvidia.sources"


def invocations(host):
    """Return the invocation ID of each unit that uses the driver; a stopped unit has none."""
    units = ("roundhouse-user.service", "nvidia-persistenced.service")
    found = [host.check_output(f"systemctl show --property InvocationID --value {unit}") for unit in units]
    assert all(found)
    return found


def test_a_repository_signed_with_another_key_is_refused(host, play, said):
    before = host.file(SOURCE).content_string
    result = play("driver.yml", nvidia_driver_repository="http://127.0.0.1:8899/signed-by-another")
    assert result.returncode == 2
    assert (
        "apt refuses http://127.0.0.1:8899/signed-by-another/debian13/x86_64/ and does not use its old index"
        in said(result)
    )
    assert host.file(SOURCE).content_string == before


def test_users_of_the_old_driver_run_until_the_repository_answers(host, play, said):
    host.check_output("systemd-run --unit roundhouse-user sleep infinity")  # the role treats the unit as an agent
    try:
        before = invocations(host)
        # Another release than the installed one, from a repository that does not exist.
        result = play(
            "driver.yml", nvidia_driver_version="580.126.09", nvidia_driver_repository="http://127.0.0.1:8899/none"
        )
        after = invocations(host)
    finally:
        host.run("systemctl stop roundhouse-user")
    assert result.returncode == 2
    assert "apt refuses http://127.0.0.1:8899/none/debian13/x86_64/" in said(result)
    assert after == before


def test_a_key_other_than_the_pinned_one_is_refused(host, play, said):
    before = host.file(SOURCE).content_string
    result = play("driver.yml", nvidia_driver_repository_fingerprint="")
    assert result.returncode == 2
    assert "but 02182E60104FCDC26EAE1B8597A5D4CB8793F200 is pinned; nothing was changed" in said(result)
    assert host.file(SOURCE).content_string == before
