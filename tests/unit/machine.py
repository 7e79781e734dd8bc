"""A machine as a tree of files: cards, kernels, modules and firmware, as the driver's code reads them."""

import shutil
import struct
import subprocess

import pytest

KERNEL, NEWER = "6.12.90+deb13-amd64", "6.12.117+deb13-amd64"
CARD = "gpu 0000:01:00.0 2d04 16311 512 12.0 on GPU-5f1c NVIDIA GeForce RTX 5060 Ti"
STATE = "from roundhouse.host import driver; print(json.dumps(driver.state(driver.inspect(root))._asdict()))"


class Machine:
    """A tree below `root` with one Blackwell card and only the running kernel."""

    def __init__(self, root, ask):
        self.root, self.ask, self.nvml = root, ask, [CARD]
        self.write("proc/sys/kernel/osrelease", KERNEL + "\n")
        (root / "proc/driver").mkdir(parents=True)
        self.kernel(KERNEL)
        self.card("2d04")

    def write(self, path, content):
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        return target

    def kernel(self, release):
        (self.root / "lib/modules" / release / "kernel").mkdir(parents=True)

    @property
    def running(self):
        """Return the running kernel."""
        return (self.root / "proc/sys/kernel/osrelease").read_text().strip()

    def remove_card(self, address="0000:01:00.0"):
        shutil.rmtree(self.root / "sys/bus/pci/devices" / address, ignore_errors=True)

    def card(self, device, address="0000:01:00.0", driver=None):
        folder = self.root / "sys/bus/pci/devices" / address
        self.remove_card(address)
        for name, value in (("vendor", "0x10de"), ("device", f"0x{device}"), ("class", "0x030000")):
            self.write(f"sys/bus/pci/devices/{address}/{name}", value + "\n")
        if driver:
            (self.root / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            (folder / "driver").symlink_to(self.root / "sys/bus/pci/drivers" / driver)

    def module(self, version, *, licence="Dual MIT/GPL", kernel=KERNEL, compress=None, signer=None):
        """Write a module to the disk: an ELF object with the section that modinfo reads."""
        if not any(map(shutil.which, ("modinfo", "/usr/sbin/modinfo"))):
            pytest.skip("modinfo not found; install kmod")
        target = self.write(f"lib/modules/{kernel}/updates/dkms/nvidia.ko", b"")
        told = rf"license={licence}\0version={version}\0vermagic={kernel}"
        code = f'const char told[] __attribute__((section(".modinfo"))) = "{told}";'
        command = ["cc", "-xc", "-c", "-o", target, "-"]
        subprocess.run(command, input=code, text=True, check=True, capture_output=True)
        content = target.read_bytes() + (self.signature(target, signer) if signer else b"")
        target.unlink()
        suffix, packed = compress(content) if compress else ("", content)
        return self.write(f"lib/modules/{kernel}/updates/dkms/nvidia.ko{suffix}", packed)

    def signature(self, path, signer):
        """Return the signature that the kernel's scripts/sign-file appends, with a new key of the signer."""
        key, certificate = self.root / "key.pem", self.root / "certificate.pem"
        options = ["-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={signer}", "-keyout", key, "-out", certificate]
        subprocess.run(["openssl", "req", "-x509", *options], check=True, capture_output=True)
        options = ["-binary", "-noattr", "-nocerts", "-outform", "DER", "-inkey", key, "-signer", certificate]
        command = ["openssl", "smime", "-sign", "-in", path, *options]
        signed = subprocess.run(command, check=True, capture_output=True).stdout
        # struct module_signature (include/linux/module_signature.h): PKCS#7, and the length.
        return signed + struct.pack(">BBBBBxxxI", 0, 0, 2, 0, 0, len(signed)) + b"~Module signature appended~\n"

    def runs(self, kernel):
        """Replace the running kernel, which is the only one."""
        shutil.rmtree(self.root / "lib/modules")
        self.write("proc/sys/kernel/osrelease", kernel + "\n")
        self.kernel(kernel)

    def load(self, version, *, flavour="Open Kernel Module", device="2d04"):
        self.write("sys/module/nvidia/version", version + "\n")
        self.write("proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX {flavour}  {version}\n")
        self.card(device, driver="nvidia")

    def secure_boot(self, enabled, owners_key=b""):
        efivars = "sys/firmware/efi/efivars"
        self.write(f"{efivars}/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", bytes([6, 0, 0, 0, int(enabled)]))
        self.write(f"{efivars}/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23", b"\6\0\0\0list" + owners_key)

    def failed_build(self, kernel=KERNEL, version="580.150.01"):
        log = f"DKMS make.log for nvidia-{version} for kernel {kernel} (x86_64)\nmake: Entering directory\n"
        log += "nv-pci.c:237:9: error: too few arguments to function 'pci_resize_resource'\nmake: *** [all] Error 2\n"
        self.write(f"var/lib/dkms/nvidia/{version}/build/make.log", log)

    def state(self):
        return self.ask(STATE, *self.nvml)
