"""The state after two runs on bare hosts of release 9 and 10."""

ONLY = ""
VENDORS = "http://127.0.0.1:8899"
IMAGE = (
    "mkdir -p /tmp/image/bin && cp /bin/busybox /tmp/image/bin/sh && tar -C /tmp/image -c . | docker import - lab-image"
)
SEES = "timeout 120 docker run --rm --network none --device nvidia.com/gpu=all lab-image /bin/sh -c ': </dev/nvidia0'"


def test_the_driver_of_the_branch_works(host, doctor):
    assert doctor() == ("ok", "The driver 580.173.02 is loaded and NVML answers.")
    kernel = host.check_output("cat /proc/sys/kernel/osrelease")
    assert f"nvidia/580.173.02, {kernel}, x86_64: installed" in host.check_output("dkms status")
    assert "Dual MIT/GPL" in host.check_output(f"modinfo --set-version {kernel} nvidia")


def test_a_module_stream_selects_the_branch_on_release_9_alone(host):
    found = host.run("cat /etc/dnf/modules.d/nvidia-driver.module").stdout
    assert ("stream=580-open" in found) == host.backend.hostname.endswith("-9")


def test_an_upgrade_of_the_host_does_not_change_the_driver_and_the_toolkit(host):
    planned = host.run("dnf --assumeno --refresh upgrade")
    assert "Nothing to do" in planned.stdout, planned.stderr
    # The repositories have newer branches, which no command without the roles' option finds.
    assert "roundhouse-nvidia" not in host.check_output("dnf repolist --enabled")


def test_each_repository_has_a_file_with_the_pinned_key(host):
    text = host.check_output("cat /etc/yum.repos.d/roundhouse-*.repo")
    keys = [line for line in text.splitlines() if line.startswith("gpgkey=")]
    assert keys
    assert all(line.startswith("gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-roundhouse-") for line in keys)
    pinned = host.check_output("cat /srv/lab/repository/fingerprint")
    assert pinned[-8:].lower() in host.check_output("rpm --query gpg-pubkey")


def test_a_repository_of_the_owner_is_adopted(host):
    adopted = host.file("/etc/yum.repos.d/docker-ce.repo").exists
    assert adopted == host.backend.hostname.endswith("-10")
    assert host.file("/etc/yum.repos.d/roundhouse-docker.repo").exists != adopted
    assert host.package("docker-ce").is_installed


def test_a_container_opens_the_card(host):
    host.check_output(IMAGE)
    host.check_output(SEES)


def test_the_modules_of_nouveau_are_left_out_of_the_initramfs(host):
    kernel = host.check_output("cat /proc/sys/kernel/osrelease")
    listed = host.check_output(f"lsinitramfs /boot/initrd.img-{kernel}")
    assert "etc/modprobe.d/roundhouse-nouveau.conf" in listed
    assert "etc/dracut.conf.d/roundhouse-nouveau.conf" in listed
