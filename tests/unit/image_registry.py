"""A registry of images on loopback with one image, for the real Docker engine: a login and faults on request."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile

from small_server import Handler, served

NAME, TAG = "lab/engine", "v1"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class Registry:
    """One image whose only layer has `size` random bytes; `failures` answers of its manifest are a 503."""

    def __init__(self, size=300_000, login=None, failures=0):
        self.login, self.failures, self.requests = login, failures, []
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo("weights")
            entry.size = size
            archive.addfile(entry, io.BytesIO(os.urandom(size)))
        layer = gzip.compress(buffer.getvalue(), 1)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [_digest(buffer.getvalue())]},
            }
        ).encode()
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {"mediaType": _CONFIG, "size": len(config), "digest": _digest(config)},
                "layers": [{"mediaType": _LAYER, "size": len(layer), "digest": _digest(layer)}],
            }
        ).encode()
        self.digest = _digest(self.manifest)
        self.blobs = {_digest(layer): layer, _digest(config): config}

    def answer(self, path, headers):
        """Return the status, the kind and the body of an answer."""
        wanted = base64.b64encode(":".join(self.login).encode()).decode() if self.login else None
        if wanted and headers.get("Authorization") != f"Basic {wanted}":
            return (
                401,
                "application/json",
                b'{"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}',
            )
        if path == "/v2/":
            return 200, "application/json", b"{}"
        if path.startswith(f"/v2/{NAME}/manifests/") and path.endswith((f"/{TAG}", self.digest)):
            if self.failures:
                self.failures -= 1
                return 503, "text/plain", b"the registry is busy"
            return 200, _MANIFEST, self.manifest
        blob = self.blobs.get(path.rpartition("/")[2])
        if blob is not None:
            return 200, "application/octet-stream", blob
        return 404, "application/json", b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'


@contextlib.contextmanager
def serve(registry):
    """Serve the registry during the `with` block; yield its address."""

    class Answers(Handler):
        def do_GET(self):
            registry.requests.append(self.path)
            status, kind, body = registry.answer(self.path, self.headers)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Content-Digest", _digest(body))
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="the lab"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

    with served(Answers) as server:
        yield f"127.0.0.1:{server.server_port}"


def _digest(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
