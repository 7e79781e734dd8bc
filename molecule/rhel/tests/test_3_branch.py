"""A change of the branch enables the other stream and replaces every package of the driver."""

ONLY = "-9"


def test_a_change_of_the_branch_replaces_the_driver(host, doctor, play):
    assert "failed=0" in play(nvidia_driver_branch=595)
    assert doctor() == ("ok", "The driver 595.71.05 is loaded and NVML answers.")
    assert "stream=595-open" in host.check_output("cat /etc/dnf/modules.d/nvidia-driver.module")
    assert "580." not in host.check_output("rpm --query --all 'nvidia*' 'kmod-nvidia*'")
