"""The proxy of host_proxy_url is used by each download, and its password is in no log and no public file."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request

import connect_proxy
import pytest
import yaml
from faulty_hub import FaultyHub, make_model
from refusal import refused
from small_server import Handler, served
from test_plugins import ROOT

from roundhouse.host import apt, apt_sources, docker_proxy, proxy, receipt
from roundhouse.provision import host_files, pull_module

SECRET = connect_proxy.PASSWORD
URL = f"http://me:{SECRET}@proxy.lan:3128"


@pytest.fixture
def through(tmp_path, monkeypatch):
    """Return a function that starts a proxy to ports of this machine and gives the host its files."""
    for name in list(os.environ):
        if name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(proxy, "PATH", tmp_path / "proxy.env")
    monkeypatch.setattr(proxy, "APT", tmp_path / "proxy.apt.conf")
    # The modules under test set variables of this process, which end with the test.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    urllib.request.install_opener(None)  # an opener keeps the proxies of its first use
    running = []

    def start(**ways):
        made = connect_proxy.Proxy(**ways)
        context = connect_proxy.serve(made)
        running.append((context, context.__enter__()))
        write(made.url)
        return made

    yield start
    for context, _ in running:
        context.__exit__(None, None, None)
    urllib.request.install_opener(None)


def write(url, exceptions=()):
    """Write the host's files as the module roundhouse_host_files does."""
    wanted = {name: None if entry is None else entry for name, entry in proxy.files(url, exceptions).items()}
    tree = {"folders": {}, "links": {}, "only": [], "services": {}, "files": wanted}
    return host_files.put_tree(tree, check=False)


def answering(body):
    class Answer(Handler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return served(Answer)


def test_the_files_are_private_and_their_diff_has_no_password(through):
    made = through()
    done = write(made.url.replace("127.0.0.1", "other.lan"))
    assert SECRET not in json.dumps(done)
    for path in (proxy.PATH, proxy.APT):
        assert path.stat().st_mode & 0o777 == 0o600
        assert SECRET in path.read_text()
    assert write("")["changed"]
    assert not proxy.PATH.exists()
    assert not proxy.APT.exists()


def test_sh_and_systemd_and_the_package_read_the_same_variables(through):
    write("http://me:p%40ss@proxy.lan:3128", [".lan", "10.0.0.0/8"])
    wanted = proxy.variables("http://me:p%40ss@proxy.lan:3128", [".lan", "10.0.0.0/8"])
    assert wanted["no_proxy"] == wanted["NO_PROXY"] == "localhost,127.0.0.1,::1,.lan,10.0.0.0/8"
    assert proxy.stored() == wanted
    shell = f"set -a; . {proxy.PATH}; exec {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    found = json.loads(subprocess.run(["sh", "-c", shell], check=True, capture_output=True, text=True, env={}).stdout)
    assert {name: found[name] for name in wanted} == wanted
    # systemd.exec(5), EnvironmentFile=: one assignment a line, comments, no quotes and escapes in these values.
    lines = [line for line in proxy.PATH.read_text().splitlines() if not line.startswith("#")]
    assert dict(line.split("=", 1) for line in lines) == wanted


def test_a_plays_environment_has_no_password():
    found = proxy.environment(URL, [".lan"])
    assert SECRET not in json.dumps(found)
    assert found == {"NO_PROXY": found["NO_PROXY"], "no_proxy": found["NO_PROXY"], "APT_CONFIG": str(proxy.APT)}
    open_one = proxy.environment("http://proxy.lan:3128")
    assert open_one["https_proxy"] == open_one["HTTP_PROXY"] == "http://proxy.lan:3128"
    assert proxy.environment("") == {}


@pytest.mark.parametrize(
    "url", ["proxy.lan:3128", f"me:{SECRET}@proxy.lan:3128", "ftp://proxy.lan:1", f"http://me:{SECRET}@proxy.lan",
            f"http://me:{SECRET}'@proxy.lan:1", f"http://me:{SECRET}@proxy.lan:x", "http://:3128"]
)  # fmt: skip
def test_an_invalid_url_is_refused_without_its_password(url):
    with refused("proxy_invalid") as error:
        proxy.variables(url)
    assert SECRET not in error.value.message


@pytest.mark.parametrize("exceptions", ["a.lan,b.lan", ["a.lan b.lan"]])
def test_exceptions_that_are_not_a_list_of_names_are_refused(exceptions):
    with refused("proxy_exception_invalid"):
        proxy.variables(URL, exceptions)


def test_a_key_is_fetched_through_the_proxy(through, tmp_path, monkeypatch):
    monkeypatch.setattr(apt, "_KEYS", tmp_path / "keys")
    monkeypatch.setattr(apt_sources, "FOLDER", tmp_path / "sources")
    (tmp_path / "sources").mkdir()
    with answering(b"not a key") as server:
        made = through(keys_invalid=server.server_port)
        source = {"name": "roundhouse-x", "uri": "http://keys.invalid/x", "suites": "/", "components": ""}
        given = {**source, "key_url": "http://keys.invalid/x.asc", "fingerprint": "A" * 40, "refresh": False}
        with refused("key_invalid"):  # the answer of the server arrived
            host_files.put_apt_source(given, check=False)
        given["key_url"] = "https://keys.invalid/x.asc"
        with refused("key_not_fetched"):  # the server has no TLS, but the proxy was asked for the connection
            host_files.put_apt_source(given, check=False)
    assert made.requests == ["GET http://keys.invalid/x.asc", "CONNECT keys.invalid:443"]


@pytest.mark.skipif(not shutil.which("apt-get"), reason="apt-get is not installed")
@pytest.mark.parametrize("exceptions", [(), ("packages.invalid",)], ids=["through the proxy", "excepted"])
def test_apt_reads_packages_through_the_proxy(through, tmp_path, exceptions):
    with answering(b"") as server:
        made = through(packages_invalid=server.server_port)
        write(made.url, exceptions)
        (tmp_path / "x.list").write_text("deb [trusted=yes] http://packages.invalid/x ./\n")
        (tmp_path / "state/lists/partial").mkdir(parents=True)
        options = {"Dir::Etc::sourcelist": f"{tmp_path}/x.list", "Dir::Etc::sourceparts": "-", "Dir::Etc::parts": "-"}
        options |= {"Dir::State": f"{tmp_path}/state", "Dir::Cache": f"{tmp_path}", "Acquire::Retries": "0"}
        options |= {"APT::Sandbox::User": "root", "Dir::Etc::main": "-"}
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        environment = os.environ | proxy.environment(made.url, exceptions)
        assert SECRET not in json.dumps(dict(environment))
        subprocess.run(["apt-get", "update", *words], env=environment, capture_output=True, check=False)
    assert any("http://packages.invalid/x" in request for request in made.requests) is (not exceptions)


class Module:
    """Provide the parts of an AnsibleModule that pull_module uses."""

    def __init__(self, **params):
        self.params, self.no_log_values, self.done = params, set(), None

    def exit_json(self, **done):
        self.done = done

    fail_json = exit_json


def resolve(**changed):
    given = {"required_models": [{"model": "lab/small", "asked": "main"}], "source": "", "token": "", "direct": False}
    module = Module(**given, progress_path=None, **{"environment": "{}", **changed})
    pull_module.run(module, pull_module.resolve)
    return module


def test_a_model_is_resolved_through_the_proxy(through, tmp_path):
    make_model(tmp_path / "root/small", {"model.safetensors": 10})
    with FaultyHub(tmp_path / "root") as hub:
        made = through(hub_invalid=int(hub.url.rpartition(":")[2]))
        # A separate process: the client keeps the proxies of its first use.
        code = f"""
import json, os, pathlib
from roundhouse.host import proxy
proxy.PATH = pathlib.Path({str(proxy.PATH)!r})
from test_proxy import resolve
module = resolve(environment=json.dumps({{"HF_ENDPOINT": "http://hub.invalid"}}))
print(json.dumps([module.done, sorted(module.no_log_values)]))
"""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        done, hidden = json.loads(ran.stdout)
        assert "found" in done, done
        assert done["found"]["lab/small@main"]["revision"] == hub.repositories.revision("lab/small", "main")
    assert SECRET in hidden
    assert all(request.startswith("GET http://hub.invalid/api/models/lab/small") for request in made.requests)
    assert made.requests


def test_another_host_of_the_inventory_is_asked_directly_and_own_variables_win(through):
    through()
    proxy.apply("10.0.0.7")
    assert os.environ["no_proxy"].endswith(",10.0.0.7")
    proxy.override({"HTTPS_PROXY": "http://other:1"})
    assert os.environ["https_proxy"] == os.environ["HTTPS_PROXY"] == "http://other:1"
    assert SECRET in os.environ["http_proxy"]


def test_a_variable_of_the_process_has_precedence(through):
    through()
    os.environ["HTTPS_PROXY"] = "http://own:1"
    proxy.apply()
    assert os.environ["HTTPS_PROXY"] == "http://own:1"
    assert "https_proxy" not in os.environ
    assert SECRET in os.environ["HTTP_PROXY"]


@pytest.mark.parametrize("own", [None, "http://own:1"])
def test_the_engines_environment_is_built_through_the_proxy(through, tmp_path, own):
    made = through()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text('#!/bin/sh\necho "$https_proxy $no_proxy"\nexit 9\n')
    (tmp_path / "bin/python3").chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "ROUNDHOUSE_PROXY_FILE": str(proxy.PATH)}
    environment |= {"https_proxy": own} if own else {}
    command = ["sh", ROOT / "roles/engine/files/build_engine.sh", tmp_path / "e/env", "python3", "lock", "uv", "vllm"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    assert done.stdout.split() == ([own] if own else [made.url, "localhost,127.0.0.1,::1"])


@pytest.mark.parametrize("stored", [True, False])
def test_an_image_is_built_through_the_proxy_without_it_in_the_arguments(through, tmp_path, stored):
    made = through()
    if not stored:
        write("")
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@"\necho "$HTTPS_PROXY"\n')
    (tmp_path / "docker").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "ROUNDHOUSE_PROXY_FILE": str(proxy.PATH)}
    command = ["sh", ROOT / "roles/engine_image/files/build_image.sh", "--tag=x", "/folder"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    arguments, variable = done.stdout.splitlines()
    assert SECRET not in arguments
    assert arguments.endswith("--tag=x /folder")
    assert ("--build-arg=https_proxy" in arguments, variable) == (stored, made.url if stored else "")


@pytest.fixture
def engine(through, tmp_path, monkeypatch):
    """Return a stand-in for systemd with a running engine, whose environment is that of a real process."""
    through()
    monkeypatch.setattr(docker_proxy, "DROP_IN", tmp_path / "docker.service.d/roundhouse-proxy.conf")
    monkeypatch.setattr(receipt, "PATH", tmp_path / "receipt.json")
    pid, log = tmp_path / "pid", tmp_path / "systemctl.log"
    (tmp_path / "systemctl").write_text(
        f'#!/bin/sh\necho "$*" >>{log}\n[ "$1" != show ] || printf "Id=docker.service\\nActiveState=active\\n'
        f'MainPID=%s\\n" "$(cat {pid})"\n'
    )
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    processes = []

    class Engine:
        def run(self, **variables):
            processes.append(subprocess.Popen(["sleep", "60"], env=variables))
            pid.write_text(str(processes[-1].pid))

        def installed_by_roundhouse(self):
            receipt.PATH.write_text(json.dumps({"packages": ["docker-ce"], "held": [], "accounts": []}))

        def calls(self):
            lines = log.read_text().splitlines() if log.exists() else []
            return [line for line in lines if not line.startswith("show")]

    yield Engine()
    for process in processes:
        process.kill()
        process.wait()


RESTART = ["daemon-reload", "reset-failed docker.service", "restart docker.service"]


def test_an_engine_of_the_roles_is_restarted_once_with_the_proxy(engine):
    engine.installed_by_roundhouse()
    engine.run()
    assert docker_proxy.apply(check=True) == ("restart", "")
    assert not docker_proxy.DROP_IN.exists()
    assert docker_proxy.apply(check=False) == ("restart", "")
    text = docker_proxy.DROP_IN.read_text()
    assert f"EnvironmentFile=-{proxy.PATH}".replace(str(proxy.PATH), "/etc/roundhouse/proxy.env") in text
    assert SECRET not in text
    assert engine.calls() == RESTART
    engine.run(**proxy.stored())
    assert docker_proxy.apply(check=False) == ("none", "")
    assert engine.calls() == RESTART


def test_a_changed_password_and_a_removed_proxy_restart_it_too(engine):
    engine.installed_by_roundhouse()
    engine.run(**proxy.stored())
    docker_proxy.apply(check=False)
    write(URL)
    assert docker_proxy.apply(check=False).action == "restart"
    write("")
    assert docker_proxy.apply(check=False).action == "restart"
    assert not docker_proxy.DROP_IN.exists()
    assert docker_proxy.apply(check=False).action == "none"


def test_another_ones_engine_is_not_changed_and_this_is_said(engine):
    engine.run()
    action, sentence = docker_proxy.apply(check=False)
    assert action == "none"
    assert "Docker was not installed by Roundhouse and keeps its proxy" in sentence
    assert not docker_proxy.DROP_IN.exists()
    assert engine.calls() == []
    write("")
    assert docker_proxy.apply(check=False) == ("none", "")


def test_each_play_that_downloads_has_the_proxy():
    plays = {name: yaml.safe_load((ROOT / f"playbooks/{name}.yml").read_text())[-1]
             for name in ("host", "engine", "models", "gateway", "quantize")}  # fmt: skip
    for name, play in plays.items():
        assert play["environment"] == "{{ host_proxy_environment | default({}) }}", name
        tasks = [*play.get("pre_tasks", []), *play.get("tasks", [])]
        roles = [
            task["ansible.builtin.include_role"]["name"] for task in tasks if "ansible.builtin.include_role" in task
        ]
        assert roles[0] == "host_proxy", name
