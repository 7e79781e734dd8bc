"""Read the host's sources as apt itself resolves them: both formats, any file name, with $(ARCH) expanded."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError
from ..util import process

LIST = Path("/etc/apt/sources.list")
FOLDER = Path("/etc/apt/sources.list.d")
_FIELDS = ("SOURCESENTRY", "REPO_URI", "RELEASE", "COMPONENT", "ARCHITECTURE", "CREATED_BY")
_FORMAT = "\t".join(f"$({name})" for name in _FIELDS)


class Entry(NamedTuple):
    """One index of a source; a field that the source lacks is empty, and `suite` ends in "/" if it is flat."""

    path: Path
    uri: str
    suite: str
    component: str
    architecture: str
    kind: str  # Packages, Sources or another index

    @property
    def repository(self) -> tuple[str, str]:
        """Return the repository's place, without the scheme, and its suite; that is empty for a flat repository."""
        flat = self.suite.endswith("/") or not self.suite
        return place(self.uri + (self.suite if flat else "")), "" if flat else self.suite


def place(uri: str) -> str:
    """Return a repository's URI without scheme and final slash, for comparisons."""
    return re.sub(r"^[a-z+]+:/+", "", uri).removesuffix("./").rstrip("/")


def entries(without: str = "") -> list[Entry]:
    """Return the entries of all sources, except those of the file `without`. Raises RoundhouseError."""
    with tempfile.TemporaryDirectory() as folder:
        parts = Path(folder)
        for path in FOLDER.glob("*"):
            if path.name != without:
                (parts / path.name).symlink_to(path)
        found, problem = _resolve(LIST, parts)
        if problem:
            raise _broken(problem.replace(folder, str(FOLDER)), without)
    return [
        entry._replace(path=FOLDER / entry.path.name if entry.path.parent == parts else entry.path) for entry in found
    ]


def _resolve(sourcelist: Path, parts: Path | str) -> tuple[list[Entry], str]:
    """Return the entries of a file and of a folder ("-" for none), or apt's reason why it cannot read them."""
    command = ["apt-get", "indextargets", "--no-release-info", "--format", _FORMAT]
    command += ["-o", f"Dir::Etc::sourcelist={sourcelist}", "-o", f"Dir::Etc::sourceparts={parts}"]
    done = process.run(command, env={**os.environ, "LC_ALL": "C.UTF-8"})
    if done.returncode != 0:
        reasons = [line.removeprefix("E: ") for line in done.stderr.splitlines() if line.startswith("E: ")]
        return [], reasons[0] if reasons else done.stderr.strip()
    found = []
    for line in done.stdout.splitlines():
        # apt prints the name of a field that an entry lacks.
        at, *fields = ("" if word.startswith("$(") else word for word in line.split("\t"))
        found.append(Entry(Path(at.rpartition(":")[0]), *fields))
    return found, ""


def _broken(problem: str, without: str) -> RoundhouseError:
    """Return the error for sources that apt cannot read, with the files that cause it."""
    paths = [path for path in (LIST, *sorted(FOLDER.glob("*"))) if path.suffix in (".list", ".sources")]
    resolved = {path: _resolve(path, "-") for path in paths if path.exists() and path.name != without}
    wrong = [path for path, (_, alone) in resolved.items() if alone]
    # Without such a file, apt refuses the combination of several: they give one repository different keys.
    wrong = wrong or [path for path, (found, _) in resolved.items() if any(entry.uri in problem for entry in found)]
    return RoundhouseError(
        "apt_sources_broken",
        "apt reads none of its sources, because of {files}: {problem}.",
        "Correct or remove that entry, until `apt-get update` succeeds.",
        files=" and ".join(map(str, wrong)) or str(FOLDER),
        problem=problem.rstrip("."),
    )
