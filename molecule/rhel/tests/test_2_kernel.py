"""DKMS builds the module of a newer kernel, because its headers come with the kernel: with and without a stream."""

ONLY = ""
NEWER = {"9": "5.14.0-611.9.1.el9_7.x86_64", "10": "6.12.0-124.20.1.el10_1.x86_64"}


def test_a_kernel_update_brings_its_module_and_the_gpu_works_after_the_reboot(host, doctor, reboot, play):
    newer = NEWER[host.backend.hostname.rpartition("-")[2]]
    host.check_output("dnf --assumeyes --enablerepo=updates upgrade")
    assert f"{newer}, x86_64: installed" in host.check_output("dkms status")
    assert doctor()[0] == "ok"
    assert reboot() == newer
    assert doctor() == ("ok", "The driver 580.173.02 is loaded and NVML answers.")
    assert "changed=0" in play()
