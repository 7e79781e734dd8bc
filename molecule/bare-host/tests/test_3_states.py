"""Each state of the driver is reached and reported with its message."""

import pytest

ONLY = "trixie"
CARD = "0000:01:00.0"


@pytest.mark.parametrize(
    ("description", "state", "part"),
    [
        ({"cards": {}}, "no_gpu", "The PCI bus has no NVIDIA GPU."),
        ({"secure_boot": True}, "secureboot_blocked", "Secure Boot refuses the driver's module 580.173.02"),
        ({"cards": {CARD: "1b06"}}, "wrong_flavour", "the open kernel modules do not support 0000:01:00.0 (10de:1b06"),
        ({"nouveau": True}, "nouveau_bound", "The kernel driver nouveau is bound to 0000:01:00.0"),
    ],
)
def test_the_state_after_a_boot(machine, doctor, description, state, part):
    machine(**description)
    found = doctor()
    assert (found["state"], found["rc"]) == (state, 1)
    assert part in found["text"]


def test_a_library_of_another_release(host, doctor):
    host.check_output("echo 'driver 580.126.09' >>/etc/lab-nvml.conf")
    try:
        found = doctor()
    finally:
        host.check_output("sed -i '/^driver/d' /etc/lab-nvml.conf")
    assert (found["state"], found["rc"]) == ("version_mismatch", 1)


def test_a_runfile_driver_is_kept(host, doctor, play, said):
    host.check_output("touch /usr/bin/nvidia-uninstall")
    try:
        assert doctor()["state"] == "unmanaged"
        result = play("driver.yml")
    finally:
        host.check_output("rm /usr/bin/nvidia-uninstall")
    assert result.returncode == 0
    assert "changed=0" in result.stdout
    # YAML doubles the apostrophe that follows.
    assert "The driver 580.173.02 works. It is not changed: NVIDIA" in said(result)


def test_secure_boot_is_checked_before_any_change(machine, play, said):
    machine(secure_boot=True)
    result = play("driver.yml")
    assert result.returncode == 2
    assert "Secure Boot is on and would refuse the modules that DKMS builds; nothing was installed" in said(result)
    assert "changed=0" in result.stdout


def test_a_card_newer_than_the_table_gets_the_open_modules_and_a_warning(machine, play, said):
    machine(cards={CARD: "3f00"})
    result = play("driver.yml", "--check")
    assert result.returncode == 0, result.stdout
    assert "Card 10de:3f00 is unknown to Roundhouse" in said(result)


def test_a_branch_without_support_for_the_card_is_refused(machine, play, said):
    machine(cards={CARD: "1b06"})
    result = play("driver.yml", nvidia_driver_branch=595)
    assert result.returncode == 2
    assert (
        "nvidia_driver_branch is 595, but 580 is the last branch that supports 10de:1b06 (before Turing): write 580."
        in said(result)
    )
