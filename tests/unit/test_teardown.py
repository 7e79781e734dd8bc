"""A teardown removes only Roundhouse's files and packages, and restores earlier content."""

import json
import subprocess

import pytest

from roundhouse.host import dnf, docker, docker_config, dpkg, packages, receipt, rpm
from roundhouse.provision import teardown

SETTINGS = {"models_store": "/var/lib/roundhouse/models", "models": False, "packages": True}
# Output of `--simulate install` (apt-get 2.6 of Debian 12): an upgrade has the installed version in brackets.
SIMULATED = """\
Inst libslirp0 (4.7.0-1 Debian:12.5/oldstable [amd64])
Inst libc6 [2.36-9] (2.36-9+deb12u10 Debian:12.5/oldstable [amd64])
Inst docker-ce (5:28.0.1-1 lab:stable [amd64]) []
Conf libslirp0 (4.7.0-1 Debian:12.5/oldstable [amd64])
"""


@pytest.fixture
def apt(monkeypatch, tmp_path):
    """Return a package manager with libc6, and with a settable output of its simulation."""
    there = {"versions": {"libc6": "2.36-9"}, "held": [], "said": SIMULATED, "asked": []}
    monkeypatch.setattr(receipt, "PATH", tmp_path / "receipt.json")
    monkeypatch.setattr(receipt, "_has", lambda account: account == "nvidia-persistenced")
    monkeypatch.setattr(dpkg, "installed", lambda: dpkg.Packages(there["versions"], there["held"], []))

    def run(command, **options):
        there["asked"].append(list(command))
        return subprocess.CompletedProcess(command, 0, there["said"], "")

    monkeypatch.setattr(subprocess, "run", run)
    return there


def test_packages_are_recorded_before_an_installation(apt):
    assert receipt.before_installing(["docker-ce=5:28.*"], check=False)
    assert receipt.load() == receipt.Receipt(["docker-ce", "libslirp0"], [], ["docker", "haproxy"], [])
    assert apt["asked"] == [["apt-get", "--simulate", "--no-install-recommends", "install", "docker-ce"]]
    assert not receipt.before_installing(["docker-ce=5:28.*"], check=False)


def test_installed_packages_are_skipped_and_check_mode_records_nothing(apt):
    assert not receipt.before_installing(["libc6"], check=False)
    assert not receipt.before_installing(["docker-ce"], check=True)
    assert apt["asked"] == []
    assert not receipt.PATH.exists()


def test_a_foreign_hold_is_not_recorded(apt):
    apt["held"] = ["libc6"]
    assert receipt.before_holding(["libc6", "docker-ce"], check=False)
    assert receipt.load().held == ["docker-ce"]


@pytest.fixture
def host(apt, tmp_path, monkeypatch):
    """Return a root with files of the roles and of others, after the roles installed docker-ce."""
    receipt.before_installing(["docker-ce"], check=False)
    apt["versions"] |= {"docker-ce": "28", "libslirp0": "4", "other": "1"}
    apt["said"] = "Purg docker-ce [28]\nRemv libslirp0 [4]\n"
    monkeypatch.setattr(docker, "contents", lambda: apt.get("contents", []))
    monkeypatch.setattr(teardown.systemctl, "active", lambda *patterns: apt.get("active", []))
    for name in (
        *("etc/apt/sources.list.d/roundhouse-docker.sources", "etc/apt/sources.list.d/mine.sources"),
        *("etc/systemd/system/roundhouse.service", "etc/systemd/system/roundhouse-dev.service"),
        *("etc/systemd/system/mine.service", "etc/systemd/system/roundhouse-watchdog@.service"),
        *("etc/systemd/system/multi-user.target.wants/roundhouse.service", "etc/modprobe.d/roundhouse-nouveau.conf"),
        *("var/lib/roundhouse/models/owner/name/config.json", "var/lib/roundhouse/state/serving.json"),
        *("etc/systemd/system/docker.service.d/roundhouse-cdi.conf", "etc/systemd/system/roundhouse-control.socket"),
        *("etc/systemd/system/roundhouse-journal.path",),
        *("etc/systemd/system/mine.service.d/roundhouse-x.conf.off",),
        *("etc/roundhouse/plan.json", "usr/local/lib/roundhouse-1a2b/switch.py"),
    ):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path / "root"


def look(host, **settings):
    asked = {**SETTINGS, "models_store": str(host / "var/lib/roundhouse/models"), **settings}
    found = teardown.find(teardown.Settings(**asked), host)
    return {**found, **{kind: [path.replace(f"{host}/", "/") for path in found[kind]] for kind in ("files", "folders")}}


def test_own_files_are_removed_and_models_stay(host, apt):
    apt["active"] = ["roundhouse-watchdog@dev.service"]
    found = look(host)
    assert found["files"] == [
        *("/etc/apt/sources.list.d/roundhouse-docker.sources", "/etc/modprobe.d/roundhouse-nouveau.conf"),
        *("/etc/systemd/system/roundhouse-dev.service", "/etc/systemd/system/roundhouse-watchdog@.service"),
        "/etc/systemd/system/roundhouse.service",
        *(
            "/etc/systemd/system/multi-user.target.wants/roundhouse.service",
            "/etc/systemd/system/roundhouse-control.socket",
            "/etc/systemd/system/roundhouse-journal.path",
        ),
        *("/etc/systemd/system/docker.service.d/roundhouse-cdi.conf", "/usr/local/lib/roundhouse-1a2b"),
        "/etc/systemd/system/docker.service.d",
    ]
    assert found["accounts"] == ["docker"]
    assert found["folders"] == ["/var/lib/roundhouse/state", "/etc/roundhouse"]
    assert (found["packages"], found["problems"]) == (["docker-ce", "libslirp0"], [])
    assert found["units"] == [
        *(
            "roundhouse-control.socket",
            "roundhouse-dev.service",
            "roundhouse-journal.path",
            "roundhouse-watchdog@dev.service",
            "roundhouse.service",
        ),
    ]
    assert "are kept, because teardown_models is false" in found["kept"][0]
    assert look(host, models=True)["folders"] == ["/var/lib/roundhouse", "/etc/roundhouse"]


def test_containerds_network_folder_is_removed_only_if_unused(host):
    (host / "etc/cni/net.d").mkdir(parents=True)
    assert "/etc/cni" in look(host)["folders"]
    (host / "etc/cni/net.d/10-theirs.conflist").write_text("{}")
    assert "/etc/cni" not in look(host)["folders"]


def test_docker_stays_for_a_foreign_container(host, apt):
    apt["contents"] = ["roundhouse-dev", "theirs"]
    apt["said"] = "Remv libslirp0 [4]\n"
    found = look(host)
    assert found["packages"] == ["libslirp0"]
    assert "/etc/apt/sources.list.d/roundhouse-docker.sources" not in found["files"]
    assert found["kept"][0] == "Docker and its repository are kept, because others use Docker: theirs."


def test_nothing_is_removed_while_docker_does_not_answer(host, apt):
    apt["contents"] = None
    assert look(host)["problems"] == [
        "Docker does not answer, so its containers are unknown: run `systemctl start docker`, or set "
        "teardown_packages: false."
    ]
    assert look(host, packages=False)["problems"] == []


def test_a_run_killed_during_the_packages_is_repeated(host, apt):
    (host / "var/lib/docker/overlay2").mkdir(parents=True)
    del apt["versions"]["docker-ce"]
    again = look(host)
    assert "/var/lib/docker" in again["folders"]
    assert again["accounts"] == ["docker"]
    apt["versions"]["docker.io"] = "26"  # installed later by the user
    assert "/var/lib/docker" not in look(host)["folders"]


def test_a_separate_store_is_removed_without_other_files(host):
    place = host / "srv/data"
    model = f"owner/name/{'a' * 40}"
    for name in (f"{model}/config.json", f"{model}/.roundhouse.json", "owner/name/.lock", "photos/one.jpg"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("")
    asked = {"models_store": str(place)}
    assert not [folder for folder in look(host, **asked)["folders"] if folder.startswith("/srv")]
    assert look(host, **asked, models=True)["folders"][0] == "/srv/data/owner"
    (place / "photos/one.jpg").unlink()
    (place / "photos").rmdir()
    assert look(host, **asked, models=True)["folders"][0] == "/srv/data"


def test_an_additional_removal_by_apt_stops_the_teardown(host, apt):
    apt["said"] += "Purg other [1]\n"
    (problem,) = look(host)["problems"]
    assert problem.startswith("apt would also remove other, which depends on a package")
    apt["said"] = ""
    assert look(host, packages=False)["packages"] == []


def test_packages_that_are_no_longer_installed_are_skipped(host, apt):
    apt["versions"] = {"libc6": "2.36-9"}
    assert look(host)["packages"] == []


OURS = {"features": {"cdi": True}, "live-restore": True, "log-opts": {"max-size": "50m"}}


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    """Return functions that merge the roles' keys into a text, and that restore it like a teardown."""
    path = tmp_path / "daemon.json"
    monkeypatch.setattr(docker_config, "PATH", path)
    monkeypatch.setattr(docker_config, "NOTES", tmp_path / "notes")
    monkeypatch.setattr(docker_config, "PENDING", tmp_path / "pending")
    monkeypatch.setattr(docker_config, "BEFORE", tmp_path / "daemon.json.before-roundhouse")
    monkeypatch.setattr(docker_config, "_validate", lambda text: None)
    monkeypatch.setattr(docker_config.systemctl, "is_active", lambda unit: False)

    def deployed(text):
        if text:
            path.write_text(text)
            path.chmod(0o600)
        docker_config.apply_merge("toolkit", docker_config.plan_merge("toolkit", OURS, force=True))
        return path

    return deployed


def restored(path):
    docker_config.restore(docker_config.plan_restore())
    return path.read_text() if path.exists() else None


def test_a_file_is_restored_exactly_with_its_mode(daemon):
    text = '{"dns":   ["9.9.9.9"], "features": {"cdi": false},\n"live-restore": true}'
    path = daemon(text)
    assert json.loads(path.read_text())["features"] == {"cdi": True}
    assert restored(path) == text
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_did_not_exist_is_removed(daemon):
    assert restored(daemon(None)) is None


def test_later_changes_by_others_stay(daemon):
    path = daemon('{"dns": ["9.9.9.9"]}')
    content = json.loads(path.read_text())
    content |= {"live-restore": False, "debug": True}
    path.write_text(json.dumps(content))
    assert json.loads(restored(path)) == {"dns": ["9.9.9.9"], "live-restore": False, "debug": True}


def test_the_preview_and_the_end_name_what_is_removed_and_what_is_kept(host):
    found = look(host)
    before, after = teardown.text(found), teardown.text(found, "removed")
    assert "remove packages: docker-ce libslirp0" in before
    assert "removed packages: docker-ce libslirp0" in after
    store = f"The models in {host}/var/lib/roundhouse/models are kept, because teardown_models is false."
    assert (f"keep: {store}" in before, f"kept: {store}" in after) == (True, True)
    assert before[-1] == f"keep: {teardown.OTHERS}"
    nothing = found | {name: [] for name in found if isinstance(found[name], list)}
    assert teardown.text(nothing) == ["Roundhouse is not installed on this host."]


def test_the_modules_of_kernels_that_came_later_are_removed_with_the_driver(host, apt):
    later = "linux-modules-nvidia-580-server-open-6.8.0-91-generic"
    meta = "linux-modules-nvidia-580-server-open-generic"
    apt["versions"] |= {meta: "1", later: "1"}
    assert later not in look(host)["packages"]
    path = receipt.PATH
    noted = json.loads(path.read_text())
    path.write_text(json.dumps({**noted, "packages": [*noted["packages"], meta]}))
    apt["said"] = f"Purg {meta} [1]\nPurg {later} [1]\nPurg docker-ce [28]\nRemv libslirp0 [4]\n"
    found = look(host)
    assert {meta, later} <= set(found["packages"])
    assert found["problems"] == []


def test_the_initramfs_is_rebuilt_for_all_kernels_by_the_hosts_program(host):
    (host / "usr/sbin").mkdir(parents=True)
    (host / "usr/sbin/mkinitramfs").touch()
    assert look(host)["initramfs"] == [["update-initramfs", "-u", "-k", "all"]]
    (host / "etc/modprobe.d/roundhouse-nouveau.conf").unlink()
    assert look(host)["initramfs"] == []


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")


def removed_models(host, place):
    return [each for each in look(host, models_store=str(place), models=True)["folders"] if each.startswith("/srv")]


MODEL = f"owner/name/{'a' * 40}"


def test_a_home_with_a_store_keeps_everything_but_its_models(host):
    home = host / "srv/home"
    put(home, f"{MODEL}/.roundhouse.json", f"{MODEL}/config.json", "owner/name/.lock", ".ssh/id_ed25519", ".bashrc")
    assert removed_models(host, home) == ["/srv/home/owner"]


def test_snapshots_of_a_disk_with_a_store_are_kept(host):
    disk = host / "srv/nas"
    put(disk, f"{MODEL}/.roundhouse.json", f".snapshots/1/{MODEL}/config.json", "owner/.hidden/work.txt")
    assert removed_models(host, disk) == ["/srv/nas/owner/name"]


def test_a_folder_without_a_manifest_is_not_a_model(host):
    disk = host / "srv/nas"
    put(disk, f"builds/app/{'b' * 40}/a.out", f"builds/app/{'c' * 40}.partial/a.out", "owner/name/x.removing/a.out")
    put(disk, "owner/name/x.removing/.roundhouse.json", f"{MODEL}.partial/.roundhouse.json")
    assert removed_models(host, disk) == [f"/srv/nas/{MODEL}.partial"]


def test_a_store_with_its_own_files_alone_is_removed_whole(host):
    disk = host / "srv/store"
    put(disk, f"{MODEL}/.roundhouse.json", "owner/name/.lock", "owner/name/.pull.json", ".scores/x.json")
    (disk / "quantised").symlink_to("quantized")
    assert removed_models(host, disk) == ["/srv/store"]


@pytest.fixture
def rpm_host(host, apt, monkeypatch):
    """Return a root of Rocky Linux with the roles' repositories, after the roles installed Docker and a driver."""
    (host / "etc/os-release").write_text("ID=rocky\nVERSION_ID=9.7\n")
    installed = dict.fromkeys(("docker-ce", "nvidia-driver-cuda", "other"), "1")
    monkeypatch.setattr(packages, "ROOT", host)
    monkeypatch.setattr(rpm, "installed", lambda: dpkg.Packages(installed, [], [], manager=dpkg.DNF))
    monkeypatch.setattr(rpm, "owner", lambda pattern: None)
    monkeypatch.setattr(rpm, "has", lambda name: name == "gpg-pubkey-d42d0685-1")
    monkeypatch.setattr(dnf, "removals", lambda names: apt.get("removals", list(names)))
    added = receipt.Receipt(["docker-ce", "nvidia-driver-cuda"], [], [], ["gpg-pubkey-d42d0685-1", "gpg-pubkey-gone-1"])
    receipt.PATH.unlink()
    receipt._add(added)
    for name in (
        *(
            "etc/yum.repos.d/roundhouse-docker.repo",
            "etc/yum.repos.d/mine.repo",
            "etc/yum.repos.d/roundhouse-nvidia.repo",
        ),
        *("etc/pki/rpm-gpg/RPM-GPG-KEY-roundhouse-docker", "etc/dnf/modules.d/nvidia-driver.module"),
    ):
        (host / name).parent.mkdir(parents=True, exist_ok=True)
        (host / name).write_text("")
    return host


def test_dnf_removes_packages_repositories_keys_and_the_stream(rpm_host):
    found = look(rpm_host)
    assert found["removal"][:3] == ["dnf", "remove", "--assumeyes"]
    assert found["removal"][-2:] == ["docker-ce", "nvidia-driver-cuda"]
    assert found["rpm_keys"] == ["gpg-pubkey-d42d0685-1"]
    files = [path for path in found["files"] if "/systemd/" not in path]
    for path in (
        *("/etc/yum.repos.d/roundhouse-docker.repo", "/etc/yum.repos.d/roundhouse-nvidia.repo"),
        *("/etc/pki/rpm-gpg/RPM-GPG-KEY-roundhouse-docker", "/etc/dnf/modules.d/nvidia-driver.module"),
    ):
        assert path in files
    assert "/etc/yum.repos.d/mine.repo" not in files


def test_dnfs_repository_of_docker_stays_for_a_foreign_container(rpm_host, apt):
    apt["contents"] = ["theirs"]
    found = look(rpm_host)
    assert found["packages"] == ["nvidia-driver-cuda"]
    assert found["rpm_keys"] == []
    assert not [path for path in found["files"] if "roundhouse-docker" in path and "apt" not in path]


def test_without_the_packages_the_stream_of_the_driver_stays(rpm_host):
    assert "/etc/dnf/modules.d/nvidia-driver.module" not in look(rpm_host, packages=False)["files"]


def test_a_package_that_dnf_would_remove_too_is_a_problem(rpm_host, apt):
    apt["removals"] = ["docker-ce", "nvidia-driver-cuda", "theirs"]
    (problem,) = look(rpm_host)["problems"]
    assert problem.startswith("dnf would also remove theirs, which depends on a package that Roundhouse installed.")
