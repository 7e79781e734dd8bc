"""The real apt resolves the sources of someone else, and a repository that they name is adopted."""

import pytest
from real_apt import real_apt_host  # noqa: F401 - a fixture

from roundhouse.errors import RoundhouseError
from roundhouse.host import apt, apt_sources
from roundhouse.provision import host_files

DEB822 = "Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {component}\nSigned-By: {key}\n"
DOCKER = apt.Source("roundhouse-docker", "https://download.docker.com/linux/debian", "trixie", "stable")


def put(host, *, check=False):
    return host_files.put_apt_source(dict(host.wanted), check=check)


def test_a_host_without_a_source_gets_one_that_apt_reads(host):
    done = put(host)
    assert (done["changed"], done["adopted"], done["path"]) == (True, False, str(host.source.path))
    assert host.update().returncode == 0
    assert not put(host)["changed"]


# NVIDIA documents its list with $(ARCH), an option and another key file than the roles'.
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nvidia-container-toolkit.list", "# theirs\ndeb [signed-by={key}] {variable_uri} /\n"),
        ("mine.list", "deb [arch=amd64 signed-by={key}] {uri} ./\n"),
        ("toolkit.sources", "Types: deb\nURIs: {variable_uri}\nSuites: /\nSigned-By: {key}\n"),
    ],
)
def test_a_source_of_someone_else_is_adopted_in_each_format(host, name, text):
    path = host.write(name, text.format(key=host.key, uri=host.uri, variable_uri=host.variable_uri))
    before = path.read_text()
    done = put(host)
    assert (done["changed"], done["adopted"], done["path"]) == (False, True, str(path))
    assert [each.name for each in host.folder.iterdir()] == [name]
    assert path.read_text() == before
    assert host.update().returncode == 0


def test_apt_would_refuse_a_second_source(host):
    host.write("theirs.list", f"deb [signed-by={host.key}] {host.variable_uri} /\n")
    host.source.path.write_text(host.source.text())
    done = host.update()
    assert done.returncode == 100
    assert "Conflicting values set for option Signed-By" in done.stderr


def test_a_host_that_an_earlier_second_source_broke_is_repaired(host):
    path = host.write("theirs.list", f"deb [signed-by={host.key}] {host.variable_uri} /\n")
    host.source.path.write_text(host.source.text())
    assert put(host, check=True)["changed"]
    assert host.source.path.exists()
    done = put(host)
    assert (done["changed"], done["path"]) == (True, str(path))
    assert not host.source.path.exists()
    assert host.update().returncode == 0
    assert not put(host)["changed"]


def test_an_adopted_source_that_apt_cannot_verify_is_refused(host):
    host.write("theirs.list", f"deb [signed-by={host.root}/none.asc] {host.variable_uri} /\n")
    with pytest.raises(RoundhouseError) as refused:
        put(host)
    assert refused.value.code == "repository_refused"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (DEB822.format(uri=DOCKER.uri, suite="trixie", component="stable", key="/x.gpg"), True),
        (DEB822.format(uri=f"{DOCKER.uri}/", suite="bookworm trixie", component="test stable", key="/x.asc"), True),
        (
            DEB822.format(uri="http://download.docker.com/linux/debian", suite="trixie", component="stable", key="/x"),
            True,
        ),
        (DEB822.format(uri=DOCKER.uri, suite="bookworm", component="stable", key="/x.gpg"), False),
        (
            DEB822.format(uri="https://download.docker.com/linux/ubuntu", suite="trixie", component="stable", key="/x"),
            False,
        ),
        ("Enabled: no\n" + DEB822.format(uri=DOCKER.uri, suite="trixie", component="stable", key="/x.gpg"), False),
        (
            "# " + DEB822.format(uri=DOCKER.uri, suite="trixie", component="stable", key="/x").replace("\n", "\n# "),
            False,
        ),
    ],
)
def test_a_source_is_the_same_by_place_suite_and_component(host, text, found):
    path = host.write("docker.sources", text)
    assert apt.existing(DOCKER) == (path if found else None)


def test_a_source_in_the_main_list_and_a_file_that_apt_ignores(host):
    host.write("docker.list.save", f"deb {DOCKER.uri} trixie stable\n")
    assert apt.existing(DOCKER) is None
    apt_sources.LIST.write_text(f"deb {DOCKER.uri} trixie stable\n")
    assert apt.existing(DOCKER) == apt_sources.LIST


@pytest.mark.parametrize("options", ["[arch=arm64] {uri} trixie stable", "{uri} trixie test"])
def test_a_source_that_lacks_the_packages_is_refused_with_its_file(host, options):
    path = host.write("docker.list", f"deb {options.format(uri=DOCKER.uri)}\n")
    with pytest.raises(RoundhouseError) as refused:
        apt.existing(DOCKER)
    assert (refused.value.code, refused.value.fields["file"]) == ("repository_incomplete", str(path))
    path.write_text(f"deb [arch=amd64,arm64] {DOCKER.uri} trixie test stable\n")  # the remedy
    assert apt.existing(DOCKER) == path


@pytest.mark.parametrize(
    ("texts", "files"),
    [
        ({"broken.list": "deb nonsense\n"}, ["broken.list"]),
        (
            {"broken.sources": "Types: deb\nSuites: x\n", "good.list": "deb https://good.example/ /\n"},
            ["broken.sources"],
        ),
        (
            {
                "one.list": "deb [signed-by=/one.gpg] https://both.example/deb/$(ARCH) /\n",
                "two.list": "deb [signed-by=/two.gpg] https://both.example/deb/amd64 /\n",
                "three.list": "deb https://other.example/ /\n",
            },
            ["one.list", "two.list"],
        ),
    ],
)
def test_sources_of_others_that_apt_cannot_read_are_one_error_with_their_files(host, texts, files):
    for name, text in texts.items():
        host.write(name, text)
    with pytest.raises(RoundhouseError) as refused:
        put(host)
    assert refused.value.code == "apt_sources_broken"
    assert refused.value.fields["files"] == " and ".join(str(host.folder / name) for name in files)
    assert str(host.folder) in refused.value.fields["problem"] or "both.example" in refused.value.fields["problem"]
    assert sorted(path.name for path in host.folder.iterdir()) == sorted(texts)
    (host.folder / files[0]).unlink()  # the remedy
    assert put(host)["changed"]
