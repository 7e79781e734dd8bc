"""The files of a role in one call: the diff, check mode, modes and owners, and refusals."""

import grp
import os
import pwd
from pathlib import Path

import pytest

from roundhouse.errors import RoundhouseError
from roundhouse.provision import file_tree, host_files
from roundhouse.util import files

ME = pwd.getpwuid(os.getuid()).pw_name
MINE = grp.getgrgid(os.getgid()).gr_name


def wanted(**given):
    return {"folders": {}, "links": {}, "files": {}, "only": [], "services": {}} | given


def put(*, check=False, **given):
    """Return the paths that changed."""
    return host_files.put_tree(wanted(**given), check=check)["paths"]


def mode(path):
    return path.stat().st_mode & 0o7777


@pytest.fixture
def everything(tmp_path):
    """Return a wanted state with one item of each kind."""
    return {
        "folders": {str(tmp_path / "etc/own"): {"mode": "0750", "owner": ME, "group": MINE}},
        "links": {str(tmp_path / "bin/command"): "/nowhere/1"},
        "files": {
            str(tmp_path / "etc/own/plain"): "text\n",
            str(tmp_path / "etc/own/other"): {"content": "more\n", "mode": "0640", "owner": ME},
        },
    }


def test_everything_is_written_once_and_not_in_check_mode(tmp_path, everything):
    paths = [path for kind in everything.values() for path in kind]
    assert put(**everything, check=True) == paths
    assert list(tmp_path.iterdir()) == []
    assert put(**everything) == paths
    assert put(**everything) == []
    assert put(**everything, check=True) == []
    own = tmp_path / "etc/own"
    assert (own / "plain").read_text() == "text\n"
    assert [mode(path) for path in (own, own / "plain", own / "other")] == [0o750, 0o644, 0o640]
    assert (tmp_path / "bin/command").readlink() == Path("/nowhere/1")
    assert sorted(path.name for path in own.iterdir()) == ["other", "plain"]  # there are no temporary files


def test_the_difference_has_before_and_after(tmp_path):
    path = tmp_path / "file"
    path.write_text("old\n")
    given = wanted(files={str(path): "new\n"}, links={str(tmp_path / "link"): "/to"})
    for check in (True, False):
        done = host_files.put_tree(given, check=check)
        assert done["changed"]
        link, told = done["diff"]
        assert (told["before"], told["after"], told["after_header"]) == ("old\n", "new\n", str(path))
        assert (link["before"], link["after"]) == ("", "a link to /to\n")
    assert host_files.put_tree(given, check=False) == {"changed": False, "paths": [], "diff": []}


def test_a_changed_mode_is_restored_and_reported(tmp_path):
    path, folder = tmp_path / "file", tmp_path / "folder"
    given = {"files": {str(path): "text\n"}, "folders": {str(folder): {"mode": "0700"}}}
    put(**given)
    path.chmod(0o600)
    folder.chmod(0o755)
    assert put(**given, check=True) == [str(folder), str(path)]
    assert (mode(path), mode(folder)) == (0o600, 0o755)
    (change,) = file_tree.apply(file_tree.Wanted({}, {}, {str(path): "text\n"}, []), check=False)
    assert (change.before, change.after) == ("mode 0600\n", "mode 0644\n")
    assert put(**given) == [str(folder)]
    assert (mode(path), mode(folder)) == (0o644, 0o700)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may change an owner")
def test_a_changed_owner_is_restored_and_reported(tmp_path):
    path = tmp_path / "file"
    given = {"files": {str(path): {"content": "", "owner": ME, "group": MINE}}}
    put(**given)
    os.chown(path, 65534, 65534)
    assert put(**given, check=True) == [str(path)]
    assert path.stat().st_uid == 65534
    assert put(**given) == [str(path)]
    assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())


def test_a_missing_account_is_an_error_except_in_check_mode(tmp_path):
    path = tmp_path / "file"
    path.write_text("text\n")
    given = {"files": {str(path): {"content": "text\n", "group": "nobody-has-it"}}}
    assert put(**given, check=True) == []
    with pytest.raises(RoundhouseError) as refused:
        put(**given)
    assert (refused.value.code, refused.value.fields) == ("account_unknown", {"name": "nobody-has-it"})


def test_unwanted_paths_are_removed(tmp_path):
    staged = tmp_path / "staged"
    put(files={str(staged / name): "" for name in ("dev/a", "dev/b", "po/c")})
    (tmp_path / "unrelated").write_text("")
    (staged / "link").symlink_to("/nowhere")
    (staged / "to-a-folder").symlink_to(tmp_path)
    given = {"files": {str(staged / "dev/a"): "", str(tmp_path / "gone"): None}, "only": [str(staged)]}
    (tmp_path / "gone").write_text("old\n")
    left = [str(tmp_path / "gone"), *(str(staged / name) for name in ("dev/b", "link", "po/c", "to-a-folder"))]
    assert put(**given, check=True) == left
    assert all(os.path.lexists(path) for path in left)
    assert put(**given) == left
    assert put(**given) == []
    assert sorted(staged.rglob("*")) == [staged / "dev", staged / "dev/a"]
    assert (tmp_path / "unrelated").exists()


def test_a_failed_validation_keeps_the_previous_file(tmp_path):
    path = tmp_path / "some.conf"
    entry = {"content": "good\n", "validate": ["test -e %s", "sh -c 'grep -q good $0 || { echo no $0; exit 1; }' %s"]}
    assert put(files={str(path): entry}) == [str(path)]
    bad = {"files": {str(path): entry | {"content": "bad\n"}}}
    assert put(**bad, check=True) == [str(path)]  # in check mode the validating program may be missing
    with pytest.raises(RoundhouseError) as refused:
        put(**bad)
    assert refused.value.code == "validation_failed"
    assert (refused.value.fields["path"], refused.value.fields["output"]) == (str(path), f"no {path}")
    assert path.read_text() == "good\n"


def test_a_validation_sees_earlier_files_and_the_final_name(tmp_path):
    first, link, unit = tmp_path / "first", tmp_path / "link", tmp_path / "some.service"
    checks = [f"test -e {first}", f"test -h {link}", "sh -c 'test $(basename $0) = some.service' %s"]
    given = {"files": {str(first): "", str(unit): {"content": "x", "validate": checks}}, "links": {str(link): "/to"}}
    assert put(**given) == [str(link), str(first), str(unit)]


def test_an_unchanged_file_is_not_validated_again(tmp_path):
    entry = {"content": "x", "validate": [f"sh -c 'echo x >>{tmp_path}/ran'"]}
    for _ in range(2):
        put(files={str(tmp_path / "file"): entry})
    assert (tmp_path / "ran").read_text() == "x\n"


def test_a_secret_file_of_the_host_is_copied_and_not_shown(tmp_path):
    own, copy = tmp_path / "own.pem", tmp_path / "copy.pem"
    given = wanted(files={str(copy): {"copy_of": str(own), "secret": True, "mode": "0640"}})
    with pytest.raises(RoundhouseError) as refused:
        host_files.put_tree(given, check=False)
    assert (refused.value.code, refused.value.fields["path"]) == ("file_unreadable", str(own))
    for text in ("KEY 1\n", "KEY 2\n"):
        own.write_text(text)
        done = host_files.put_tree(given, check=False)
        assert done["changed"]
        assert "KEY" not in str(done)
        assert (copy.read_text(), mode(copy)) == (text, 0o640)
    assert not host_files.put_tree(given, check=False)["changed"]


@pytest.fixture
def private_umask():
    """Set a umask that makes new files unreadable for others, as on some hosts for root."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("private_umask")
def test_missing_parent_folders_are_readable_for_all(tmp_path):
    put(
        folders={str(tmp_path / "etc/agents/dev"): {"mode": "0750"}},
        files={str(tmp_path / "opt/tool/file"): "text\n"},
        links={str(tmp_path / "usr/bin/tool"): "/nowhere"},
    )
    for name in ("etc", "etc/agents", "opt", "opt/tool", "usr", "usr/bin"):
        assert mode(tmp_path / name) == 0o755, name
    assert (mode(tmp_path / "etc/agents/dev"), mode(tmp_path / "opt/tool/file")) == (0o750, 0o644)
    assert {path.name for path in tmp_path.iterdir()} == {"etc", "opt", "usr"}


@pytest.mark.parametrize(("rights", "shown"), [(0o644, True), (0o640, False)])
def test_a_removed_file_is_shown_only_if_others_may_read_it(tmp_path, rights, shown):
    path = tmp_path / "only/stranger"
    path.parent.mkdir()
    path.write_bytes(b"KEY \xff\n")  # in another encoding
    path.chmod(rights)
    for check in (True, False):
        done = host_files.put_tree(wanted(only=[str(path.parent)]), check=check)
        assert (done["paths"], "KEY" in str(done["diff"])) == ([str(path)], shown)
    assert not path.exists()


def test_a_file_of_another_encoding_is_replaced(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\xff\n")
    assert put(files={str(path): "text\n"}) == [str(path)]
    assert path.read_text() == "text\n"


def test_a_link_never_replaces_a_file(tmp_path):
    there = tmp_path / "command"
    there.write_text("somebody's own")
    with pytest.raises(RoundhouseError) as refused:
        put(links={str(there): "/to"})
    assert (refused.value.code, refused.value.fields["path"]) == ("not_a_link", str(there))
    assert there.read_text() == "somebody's own"


def test_a_killed_write_leaves_the_file_unchanged(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old\n")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        put(files={str(path): "new\n"})
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """Put a systemctl into PATH that answers with the content of a file."""
    program = tmp_path / "path/systemctl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/told\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def tell(*units):
        names = ("Id", "ActiveState", "UnitFileState", "NeedDaemonReload")
        blocks = ["".join(f"{name}={value}\n" for name, value in zip(names, unit, strict=True)) for unit in units]
        (tmp_path / "told").write_text("\n".join(blocks))

    return tell


def test_services_are_reported_after_the_files(tmp_path, systemctl):
    systemctl(
        ("a.service", "active", "enabled", "no"),
        ("b.service", "inactive", "disabled", "no"),
        ("roundhouse-watchdog@dev.service", "active", "static", "yes"),
    )
    folder, mark = tmp_path / "etc", tmp_path / "loaded"
    reads = {"reads": str(folder), "read_at": str(mark), "ignores": ["keys.*"]}
    given = wanted(
        files={str(folder / name): "x" for name in ("one", "keys.map")},
        services={"a.service": reads, "b.service": None, "c.service": None},
    )
    told = host_files.put_tree(given, check=False)
    assert told["stale"] == ["roundhouse-watchdog@dev.service"]
    found = told["services"]
    assert [(each["state"], each["enabled"]) for each in found.values()] == [
        ("active", True),
        ("inactive", False),
        ("inactive", False),
    ]
    assert found["a.service"]["unread"] == []  # no file was read yet, so the service is started
    mark.touch()
    os.utime(mark, (1, 1))
    assert host_files.put_tree(given, check=False)["services"]["a.service"]["unread"] == [str(folder / "one")]
    os.utime(mark)
    os.utime(folder / "one", (2, 2))
    assert host_files.put_tree(given, check=False)["services"]["a.service"]["unread"] == []


def test_a_host_without_systemd_reports_no_service(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    told = host_files.put_tree(wanted(services={"a.service": None}), check=True)
    assert told["services"] == {"a.service": {"enabled": False, "state": "inactive", "unread": []}}
