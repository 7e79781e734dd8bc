"""What goes wrong with packages is told, and mended by the next run."""

import os
import subprocess
import time

from conftest import INVENTORY, ROOT

ONLY = "trixie"
NEWEST = "580.173.02"
SOURCE = "/etc/apt/sources.list.d/roundhouse-nvidia.sources"


def installed(host, name="nvidia-driver-cuda"):
    return host.check_output("dpkg-query --show --showformat='${db:Status-Abbrev} ${Version}' " + name)


def invocations(host):
    """Return what names each start of those who use the driver; one that was stopped has none."""
    units = ("roundhouse-user.service", "nvidia-persistenced.service")
    found = [host.check_output(f"systemctl show --property InvocationID --value {unit}") for unit in units]
    assert all(found)
    return found


def test_a_repository_that_another_key_signed_is_refused(host, play, said):
    before = host.file(SOURCE).content_string
    result = play("driver.yml", nvidia_driver_repository="http://127.0.0.1:8899/signed-by-another")
    assert result.returncode == 2
    assert (
        "apt refuses http://127.0.0.1:8899/signed-by-another/debian13/x86_64/, and its old index is not used"
        in said(result)
    )
    assert host.file(SOURCE).content_string == before


def test_who_uses_the_old_driver_goes_on_until_the_repository_has_answered(host, play, said):
    host.check_output("systemd-run --unit roundhouse-user sleep infinity")  # an agent, as the role knows one
    try:
        before = invocations(host)
        # Another release than the one that is there, from a repository that is not.
        result = play(
            "driver.yml", nvidia_driver_version="580.126.09", nvidia_driver_repository="http://127.0.0.1:8899/none"
        )
        after = invocations(host)
    finally:
        host.run("systemctl stop roundhouse-user")
    assert result.returncode == 2
    assert "apt refuses http://127.0.0.1:8899/none/debian13/x86_64/" in said(result)
    assert after == before


def test_a_key_that_is_not_the_pinned_one_is_refused(host, play, said):
    before = host.file(SOURCE).content_string
    result = play("driver.yml", nvidia_driver_repository_fingerprint="")
    assert result.returncode == 2
    assert "and 02182E60104FCDC26EAE1B8597A5D4CB8793F200 is pinned: nothing was changed" in said(result)
    assert host.file(SOURCE).content_string == before


def test_a_release_that_does_not_build_is_told_with_its_first_error(host, play, doctor, said):
    result = play("driver.yml", nvidia_driver_version="580.150.01")
    assert result.returncode == 2
    assert "error: #error too few arguments to function 'pci_resize_resource'" in said(result)
    assert "nvidia_driver_version; 580.126.09 is the first" in said(result)
    assert doctor()["state"] == "dkms_failed"


def test_a_run_that_is_killed_among_the_packages_is_mended_by_the_next(host, play, doctor):
    # The release before is loaded and not in use, and its packages are held: all of them move without a reboot.
    command = ["ansible-playbook", "--inventory", INVENTORY, "--limit", host.backend.hostname]
    command += ["--extra-vars", '{"nvidia_driver_version": "580.126.09"}', str(ROOT / "molecule/bare-host/driver.yml")]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + 120
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
    assert doctor()["sentence"] == "The driver 580.126.09 is loaded and NVML answers."


def test_a_module_in_use_waits_for_a_reboot_that_may_not_be(host, machine, play, doctor, said):
    machine(busy=True)
    result = play("driver.yml", nvidia_driver_reboot="never", nvidia_driver_version=NEWEST)
    assert result.returncode == 2
    assert "is loaded and 580.173.02 is installed" in said(result)
    assert "run again: the run goes on from here (nvidia_driver_reboot is never)" in said(result)
    assert installed(host).split() == ["hi", f"{NEWEST}-1"]
    assert doctor()["state"] == "reboot_required"
