"""Teardown restores the host: packages, repositories, keys in rpm's database, and the module stream."""

ONLY = ""
UPDATED = ("611.9.1.el9_7", "124.20.1.el10_1")  # the kernels of test_2_kernel.py


def test_a_bare_host_is_bare_again(host, play):
    assert "failed=0" in play("teardown.yml")
    changes = host.run("lab-snapshot compare /var/lib/lab-before.json").stdout.splitlines()
    assert [line for line in changes if not any(kernel in line for kernel in UPDATED)] == []
    host.check_output("dnf --quiet --refresh makecache")


def test_a_second_teardown_changes_nothing(host, play):
    assert "changed=0" in play("teardown.yml")
