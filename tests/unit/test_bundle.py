"""The command's archive, built from a package outside of a checkout."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import yaml

from roundhouse.paths import CHECKOUT, PACKAGE
from roundhouse.provision import bundle

MAKE = "from roundhouse.provision import bundle; print(bundle.make()['path'])"


def test_an_installed_package_builds_the_command_of_a_host(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "site-packages/roundhouse", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}/site-packages", "XDG_CACHE_HOME": str(tmp_path)}
    made = subprocess.run([sys.executable, "-c", MAKE], env=environment, capture_output=True, text=True, check=True)
    with tarfile.open(made.stdout.strip()) as archive:
        assert archive.getnames()[-1].endswith("/switch.py")
        archive.extractall(tmp_path, filter="data")
        script = tmp_path / archive.getnames()[-1]
    link = tmp_path / "link"
    link.symlink_to(script)
    # -E -S: without this environment's packages, as on a host.
    command = [sys.executable, "-ES", link, "help", "status"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: roundhouse status")
    assert (script.stat().st_mode & 0o777, script.read_text()[:2]) == (0o755, "#!")


def test_the_role_installs_the_command_with_bytecode_that_each_account_reads(tmp_path, monkeypatch):
    """Run the role's own task, on a host whose umask hides new files from other accounts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    made = bundle.make()
    with tarfile.open(made["path"]) as archive:
        archive.extractall(tmp_path, filter="data")
    tasks = yaml.safe_load((CHECKOUT / "roles/agents/tasks/install.yml").read_text())
    (task,) = [each for each in tasks if each["name"] == "Compile the command"]
    script = task["ansible.builtin.shell"].replace("{{ __agents_bundle.name }}", made["name"])
    command = script.replace("/usr/local/lib", str(tmp_path))
    subprocess.run(["sh", "-c", command], check=True, umask=0o077)
    sources = [*(tmp_path / made["name"]).rglob("*.py")]
    compiled = [Path(importlib.util.cache_from_source(str(path))) for path in sources]
    assert len(sources) > 200
    assert [path for path in compiled if not path.exists() or not path.stat().st_mode & 0o004] == []
    assert [path for path in {each.parent for each in compiled} if not path.stat().st_mode & 0o001] == []
