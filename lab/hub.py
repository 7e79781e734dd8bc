#!/usr/bin/env python3
"""A model hub on loopback, for the lab: each folder ROOT/NAME is the repository lab/NAME.

It speaks the part of the hub's protocol that huggingface_hub's client uses to download a
repository: the revision, the tree with sha256 of large files, and the files, with ranges.

    hub.py ROOT PORT
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

ROUTE = re.compile(r"/(?:api/models/)?lab/(?P<name>[\w.-]+)/(?P<verb>revision|tree|resolve)/(?P<rest>.+)")


class Hub(BaseHTTPRequestHandler):
    """Answers GET and HEAD; anything else is not part of a download."""

    protocol_version = "HTTP/1.1"
    root: Path

    def do_GET(self) -> None:
        """Answer with a body."""
        route = ROUTE.fullmatch(urlparse(self.path).path)
        folder = self.root / route["name"] if route else None
        if route is None or folder is None or not folder.is_dir():
            self.refuse("RepoNotFound")
        elif route["verb"] == "revision":
            self.reply(json.dumps({"id": f"lab/{route['name']}", "sha": commit(folder)}).encode())
        elif route["verb"] == "tree":
            self.reply(json.dumps([entry(file) for file in files(folder)]).encode())
        else:
            file = folder / route["rest"].partition("/")[2]
            if file.is_file():
                self.send_file(file, folder)
            else:
                self.refuse("EntryNotFound")

    do_HEAD = do_GET

    def send_file(self, file: Path, folder: Path) -> None:
        """Send a file, or the range of it that was asked for."""
        content = file.read_bytes()
        headers = {"X-Repo-Commit": commit(folder), "ETag": f'"{sha256(file)}"', "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            self.reply(content, headers)
            return
        start, end = int(wanted[1]), int(wanted[2] or len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self.reply(content[start : end + 1], headers, status=206)

    def refuse(self, code: str) -> None:
        """Answer that something is not there, in the hub's words."""
        self.reply(b"{}", {"X-Error-Code": code}, status=404)

    def reply(self, body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        """Send status, headers and, except to HEAD, the body."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def files(folder: Path) -> list[Path]:
    """Return the files of a repository."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def entry(file: Path) -> dict[str, object]:
    """Return a file's entry of the tree."""
    size, digest = file.stat().st_size, sha256(file)
    found = {"type": "file", "path": file.name, "size": size, "oid": digest[:40]}
    return found | {"lfs": {"oid": digest, "size": size, "pointerSize": 134}} if size > 1_000_000 else found


def sha256(file: Path) -> str:
    """Return the sha256 of a file's content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def commit(folder: Path) -> str:
    """Return a 40-hex revision that follows from the content."""
    return hashlib.sha1("".join(sha256(file) for file in files(folder)).encode(), usedforsecurity=False).hexdigest()


def main() -> None:
    """Serve until killed."""
    Hub.root = Path(sys.argv[1])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Hub).serve_forever()


if __name__ == "__main__":
    main()
