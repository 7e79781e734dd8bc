"""A repository is installed only if its key has the pinned fingerprint."""

import urllib.request

import pytest
from small_server import Handler, served

from roundhouse.errors import RoundhouseError
from roundhouse.host import apt, openpgp
from roundhouse.util import files

pytest_plugins = ("openpgp_keys",)  # the fixture keys
SOURCE = apt.Source("roundhouse-nvidia", "https://repo.example/debian13/x86_64/", "/", "")


def test_fingerprints_equal_those_of_gpg(keys):
    for armoured, fingerprint in keys:
        assert openpgp.fingerprints(openpgp.packets(armoured)) == [fingerprint]


def test_only_the_pinned_key_is_accepted(keys):
    (first, fingerprint), (second, _) = keys
    apt.require_key(first, fingerprint.lower(), "URL")
    for wrong in (second, first + second):
        with pytest.raises(RoundhouseError) as refused:
            apt.require_key(wrong, fingerprint, "URL")
        assert (refused.value.code, refused.value.fields["pinned"]) == ("key_not_pinned", fingerprint)


@pytest.fixture
def server():
    """Serve one answer at every path; yield the URL, the settable answer, and the requested paths."""
    answer, asked = {}, []

    class Answering(Handler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer["key"])

    with served(Answering) as made:
        yield f"http://127.0.0.1:{made.server_port}", answer, asked


@pytest.fixture
def empty_host(tmp_path, monkeypatch):
    """Keep keys in a folder of the test, and ignore this machine's proxies."""
    monkeypatch.setattr(apt, "_KEYS", tmp_path)
    monkeypatch.setenv("no_proxy", "*")
    urllib.request.install_opener(None)  # an opener keeps the proxies of its first use
    yield
    urllib.request.install_opener(None)


@pytest.mark.usefixtures("empty_host")
def test_a_key_is_downloaded_once_and_again_after_a_new_pin(keys, server):
    (first, pin), (second, other_pin) = keys
    url, answer, asked = server
    answer["key"] = first
    assert apt.read_or_fetch_key(SOURCE, f"{url}/one", pin) == first.decode()
    SOURCE.key_path.write_bytes(first)
    assert apt.read_or_fetch_key(SOURCE, f"{url}/one", pin) == first.decode()
    assert asked == ["/one"]
    answer["key"] = second
    assert apt.read_or_fetch_key(SOURCE, f"{url}/two", other_pin) == second.decode()
    assert asked == ["/one", "/two"]


@pytest.mark.usefixtures("empty_host")
def test_a_key_is_downloaded_through_the_proxy_of_the_environment(keys, server, monkeypatch):
    (key, pin), _ = keys
    url, answer, asked = server
    for name, value in (("http_proxy", url), ("no_proxy", ""), ("NO_PROXY", "")):
        monkeypatch.setenv(name, value)
    answer["key"] = key
    assert apt.read_or_fetch_key(SOURCE, "http://repo.example/key", pin) == key.decode()
    assert asked == ["http://repo.example/key"]


@pytest.mark.usefixtures("empty_host")
@pytest.mark.parametrize("url", ["http://127.0.0.1:1/key", "repo.example/key"])
def test_a_failed_download_of_a_key_is_reported(url):
    with pytest.raises(RoundhouseError) as refused:
        apt.read_or_fetch_key(SOURCE, url, "0" * 40)
    assert (refused.value.code, refused.value.fields["url"]) == ("key_not_fetched", url)
    assert refused.value.fields["problem"]


@pytest.mark.parametrize(
    "content", [b"", b"<html>404</html>", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n=AAAA\n"]
)
def test_content_without_a_key_is_refused(content):
    with pytest.raises(RoundhouseError) as refused:
        apt.require_key(content, "0" * 40, "URL")
    assert refused.value.code == "key_invalid"


def test_a_source_in_deb822():
    assert SOURCE.text().splitlines()[:4] == [
        "Types: deb",
        "URIs: https://repo.example/debian13/x86_64/",
        "Suites: /",
        "Signed-By: /etc/apt/keyrings/roundhouse-nvidia.asc",
    ]


def test_differences_are_reported_until_they_are_written(tmp_path):
    files.write(tmp_path / "two", "old")
    wanted = {tmp_path / "new/one": "text\n", tmp_path / "two": "new\n"}
    assert [(change.before, change.after) for change in files.changes(wanted)] == [("", "text\n"), ("old", "new\n")]
    for path, content in wanted.items():
        files.write(path, content)
    assert files.changes(wanted) == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "one", "two"]
