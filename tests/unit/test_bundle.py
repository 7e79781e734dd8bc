"""The command's archive, built from a package outside of a checkout."""

import os
import shutil
import subprocess
import sys
import tarfile

from roundhouse.paths import PACKAGE

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
