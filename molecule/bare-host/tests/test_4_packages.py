"""Package failures are reported, and the next run repairs them."""

import os
import subprocess
import time

from conftest import INVENTORY, ROOT

ONLY = "bookworm"
NEWEST = "580.173.02"


def installed(host, name="nvidia-driver-cuda"):
    return host.check_output("dpkg-query --show --showformat='${db:Status-Abbrev} ${Version}' " + name)


def test_a_failed_build_is_reported_with_its_first_error(host, play, doctor, said):
    result = play("driver.yml", nvidia_driver_version="580.150.01")
    assert result.returncode == 2
    assert "error: #error too few arguments to function 'pci_resize_resource'" in said(result)
    assert "580.126.09 or later for current stable kernels" in said(result)
    assert doctor()["state"] == "dkms_failed"


def test_the_next_run_repairs_a_run_killed_during_the_packages(host, play, doctor):
    # The older release is loaded and not in use, and its packages are held. All of them are changed without a reboot.
    command = ["ansible-playbook", "--inventory", INVENTORY, "--limit", host.backend.hostname]
    command += ["--extra-vars", '{"nvidia_driver_version": "580.126.09"}', str(ROOT / "molecule/bare-host/driver.yml")]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + 600  # a bound, for a machine of any speed
    while host.run("pgrep -x dkms").rc != 0:
        assert time.monotonic() < end, "the run did not come to its packages"
        assert running.poll() is None, "the run ended before its packages were configured"
    assert not host.service("nvidia-persistenced").is_running  # it had the old driver open
    running.kill()
    host.run("pkill -9 -x apt-get; pkill -9 -x dpkg; pkill -9 dkms; pkill -9 make")
    assert "nvidia-kernel-open-dkms" in host.run("dpkg --audit").stdout
    result = play("driver.yml", nvidia_driver_version="580.126.09")
    assert result.returncode == 0, result.stdout
    assert host.run("dpkg --audit").stdout == ""
    assert installed(host).split() == ["hi", "580.126.09-1"]
    assert doctor()["text"] == "The driver 580.126.09 is loaded and NVML answers."


def test_a_module_in_use_needs_a_reboot_that_is_not_permitted(host, machine, play, doctor, said):
    machine(busy=True)
    result = play("driver.yml", nvidia_driver_reboot="never", nvidia_driver_version=NEWEST)
    assert result.returncode == 2
    assert "is loaded and 580.173.02 is installed" in said(result)
    assert "not reboot the host itself, because nvidia_driver_reboot is never." in said(result)
    assert installed(host).split() == ["hi", f"{NEWEST}-1"]
    assert doctor()["state"] == "reboot_required"
