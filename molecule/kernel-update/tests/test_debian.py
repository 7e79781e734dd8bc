"""DKMS builds the module of a newer kernel; a run installs the headers that it lacked."""

ONLY = "debian"
NEWER = "6.99.0-1-amd64"
SOURCE = "deb [signed-by=/srv/lab/repository/key] http://127.0.0.1:8899/kernel/ /"


def test_a_kernel_without_headers_is_missed_before_the_reboot(host, doctor):
    assert doctor()[0] == "ok"
    host.check_output(f"echo '{SOURCE}' >/etc/apt/sources.list.d/kernel.list && apt-get update -q")
    host.check_output(f"DEBIAN_FRONTEND=noninteractive apt-get install -y -q linux-image-{NEWER}")
    state, text = doctor()
    assert (state, NEWER in text) == ("dkms_failed", True)


def test_a_run_repairs_the_host_that_booted_without_a_module(host, doctor, reboot, play):
    assert reboot() == NEWER
    assert doctor()[0] != "ok"
    assert "failed=0" in play()
    assert host.package(f"linux-headers-{NEWER}").is_installed
    assert f"{NEWER}, x86_64: installed" in host.check_output("dkms status")
    assert doctor()[0] == "ok"
    assert "changed=0" in play()


def test_a_module_that_dkms_lost_is_built_again(host, doctor, play):
    host.check_output(f"dkms uninstall -m nvidia -v 580.173.02 -k {NEWER}")
    assert doctor()[0] != "ok"
    assert "failed=0" in play()
    assert doctor()[0] == "ok"
