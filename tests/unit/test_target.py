"""The target host of the command: scripts/switch.py as a process, and a host behind a stand-in for docker and ssh.

Only the transport is a stand-in. It runs the host's programs on this machine, with a plan and a store of their own.
"""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path
from types import SimpleNamespace

import pytest
from clock import until
from pulling import MODEL, hub, place, pull_models  # noqa: F401 - fixtures
from small_server import Handler, served
from test_migrate_ollama import Store, gguf_head

from roundhouse.cli import command, remote, target_host
from roundhouse.errors import RoundhouseError
from roundhouse.models import verify
from roundhouse.paths import CHECKOUT, IMPORT_ROOT
from roundhouse.util import progress

PROGRAM = [sys.executable, str(CHECKOUT / "scripts/switch.py")]
# Like docker exec without --tty, it does not pass signals on: the host's command stays when the client ends.
DOCKER = """\
#!{python}
import os, subprocess, sys
words = sys.argv[1:]
if words[0] == "container":
    print("true")
    raise SystemExit
assert words.pop(0) == "exec"
while words[0].startswith("--"):
    option = words.pop(0)
    if option == "--tty":
        assert os.isatty(0), "the input device is not a TTY"
    name, _, value = option.removeprefix("--env=").partition("=")
    os.environ[name] = value
assert words.pop(0) == "roundhouse-lab"
with open("{folder}/calls", "a") as log:
    log.write(" ".join(words) + "\\n")
os.environ["PATH"] = "{folder}/host:/usr/bin:/bin"
try:
    running = subprocess.Popen(words, start_new_session=not os.isatty(0))
except FileNotFoundError:
    raise SystemExit(127)
raise SystemExit(running.wait())
"""
SSH = """\
#!/bin/sh
[ "$1" != -t ] || shift
echo "ssh $*" >> {folder}/calls
[ "$1" = ssh://root@gpu.lan ] || exit 255
shift
PATH="{folder}/host:/usr/bin:/bin" exec setsid --wait sh -c "$*"
"""
HOST = """\
#!{python}
import os, sys
from pathlib import Path
sys.path.insert(0, "{source}")
os.environ["ROUNDHOUSE_ON"] = "local"
from roundhouse.plan import deployed
deployed.PATH = Path("{folder}/plan.json")
deployed.load.__defaults__ = (deployed.PATH,)
from roundhouse.bench import run
from roundhouse.cli import main
from roundhouse.cli.commands import bench
bench.FOLDER = Path("{folder}/bench")
from roundhouse.gateway import keys
keys.PATH = Path("{folder}/keys.json")
raise SystemExit(main.main())
"""
VLLM = """\
#!{python}
import json, os, sys
words = dict(zip(sys.argv, sys.argv[1:]))
row = dict(completed=8, failed=0, errors=[], duration=10.0, median_tpot_ms=25.0, output_throughput=38.0)
row |= dict(request_throughput=0.8, median_ttft_ms=500.0, p99_ttft_ms=900.0, total_output_tokens=1024)
with open(os.path.join(words["--result-dir"], words["--result-filename"]), "w") as file:
    json.dump(row, file)
"""


def program(path, text, **values):
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Run a lab with a plan of two agents; return its folder, what ran on it, and the command on this machine."""
    folder = tmp_path / "lab"
    values = {"python": sys.executable, "folder": folder, "source": IMPORT_ROOT}
    program(folder / "client/docker", DOCKER, **values)
    program(folder / "client/ssh", SSH, **values)
    program(folder / "host/roundhouse", HOST, **values)
    program(folder / "host/sudo", '#!/bin/sh\nexec "$@"\n')
    agents = [
        {
            **dict.fromkeys(("conflicts", "config_path", "environment", "model_path"), ""),
            **{"name": name, "unit": f"roundhouse-{name}.service", "host": "127.0.0.1", "port": port},
            **{"model": f"Qwen/{name}", "max_model_len": 8192, "temperature": 0.3, "config": {}},
        }
        for name, port in (("dev", 8001), ("po", 8002))
    ]
    plan = {"schema": 1, "agents": agents, "models_store": str(folder / "store"), "accelerator": "cpu"}
    (folder / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "here").mkdir()
    own = {name: value for name, value in os.environ.items() if name != "ROUNDHOUSE_ON"}
    own["PATH"] = f"{folder}/client:{own['PATH']}"
    monkeypatch.setenv("PATH", own["PATH"])
    monkeypatch.setattr(target_host, "lab_is_up", lambda: True)

    def run(*words, **options):
        options = {"stdin": subprocess.DEVNULL} | options
        if "input" in options:
            del options["stdin"]
        return subprocess.run(
            [*PROGRAM, *map(str, words)],
            **options,
            cwd=tmp_path / "here",
            env=own,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    calls = folder / "calls"
    return SimpleNamespace(
        folder=folder,
        here=tmp_path / "here",
        env=own,
        run=run,
        plan=plan,
        calls=lambda: calls.read_text() if calls.exists() else "",
    )


def without_a_plan():
    """Return whether this machine has a plan: these tests need one without."""
    return Path("/etc/roundhouse/plan.json").exists()


pytestmark = pytest.mark.skipif(without_a_plan(), reason="this machine has a plan, so it is the target itself")
WORDS = {
    "switch": ["dev", "--drain", "0"],
    "logs": ["dev"],
    "watch": ["--rounds", "1"],
    "pull": ["--from", "/nowhere"],
    "export": ["usb", "--from", "/nowhere"],
    "quantize": ["a/b", "fp8"],
    "client-config": ["curl"],
    "import": ["ollama"],
    "chat": ["dev"],
    "set": ["dev", "temperature", "0.4"],
}


@pytest.mark.parametrize("name", [name for name in command.NAMES if command.load(name).on == command.ON_PLAN])
def test_each_command_acts_on_the_lab_and_reports_it_once(lab, name):
    done = lab.run(name, *WORDS.get(name, []))
    assert lab.calls(), "nothing ran on the host"
    assert done.stderr.splitlines()[0] == "host: lab"
    assert done.stderr.count("host:") == 1
    assert "host:" not in done.stdout


def test_json_names_the_host_and_stderr_does_not(lab):
    for word, key in (("models", "models"), ("keys", "names"), ("plans", "plans"), ("client-config", "files")):
        done = lab.run(word, *WORDS.get(word, []), "--json")
        answer = json.loads(done.stdout)
        assert (answer["host"], answer["ok"], key in answer, done.stderr) == ("lab", True, True, "")
    failed = json.loads(lab.run("logs", "nosuch", "--json").stdout)
    assert (failed["host"], failed["ok"]) == ("lab", False)


def test_a_remedy_from_the_host_names_the_command_that_was_typed_here(lab):
    assert lab.run("keys").stdout.endswith("Add one with `scripts/switch.py keys add NAME`.\n")


def test_on_local_is_this_machine(lab):
    done = lab.run("models", "--on", "local", "--json", "--store", lab.here)
    assert (json.loads(done.stdout)["host"], lab.calls(), done.returncode) == ("local", "", 0)


@pytest.mark.parametrize("words", [["keys", "ensure", "--json"], ["import", "old.env"], ["help"]])
def test_commands_about_this_machine_run_here(lab, words):
    (lab.here / "old.env").write_text("VLLM_MODEL=Qwen/Qwen2.5-7B-Instruct-AWQ\n")
    lab.run(*words)
    assert lab.calls() == ""


def test_a_host_over_ssh(lab):
    done = lab.run("--on", "ssh://root@gpu.lan", "models")
    assert (done.returncode, done.stderr) == (0, "host: ssh://root@gpu.lan\n")
    assert re.search(r"^ssh ssh://root@gpu.lan ROUNDHOUSE_CALL=\w+ sudo roundhouse models$", lab.calls(), re.MULTILINE)
    unreachable = json.loads(lab.run("models", "--on=ssh://nowhere", "--json").stdout)
    assert unreachable["errors"][0]["code"] == "host_unreachable"


def test_stdin_and_the_exit_status_pass_through(lab):
    program(lab.folder / "host/roundhouse", "#!/bin/sh\ncat\nexit 7\n")
    done = lab.run("status", input="to the host\n")
    assert (done.returncode, done.stdout) == (7, "to the host\n")


def test_a_host_without_the_command_is_an_error(lab):
    (lab.folder / "host/roundhouse").unlink()
    assert json.loads(lab.run("status", "--json").stdout)["errors"][0]["code"] == "host_without_command"


def test_a_terminal_passes_through(lab):
    program(lab.folder / "host/roundhouse", "#!/bin/sh\ntest -t 0 && test -t 1 && read line && echo got $line\n")
    leader, terminal = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "status"], stdin=terminal, stdout=terminal, stderr=terminal, env=lab.env, cwd=lab.here
    ) as running:
        os.write(leader, b"a word\n")
        running.wait(60)
    attributes = termios.tcgetattr(terminal)
    os.close(terminal)
    assert attributes
    assert b"got a word" in os.read(leader, 65536)
    assert running.returncode == 0


@pytest.mark.parametrize("words", [[], ["--on", "ssh://root@gpu.lan"]], ids=["docker", "ssh"])
def test_ctrl_c_without_a_terminal_interrupts_the_command_on_the_host(lab, words):
    script = "#!/bin/sh\ntrap 'echo > {folder}/interrupted; exit 130' INT\necho > {folder}/begun\n"
    script += "while :; do sleep 0.05; done\n"
    program(lab.folder / "host/roundhouse", script, folder=lab.folder)
    with subprocess.Popen(
        [*PROGRAM, *words, "status"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=lab.env
    ) as running:
        until((lab.folder / "begun").exists)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "was interrupted too" in said
    until((lab.folder / "interrupted").exists)


def quiet():
    return progress.Progress(lambda event: None, 1)


@pytest.fixture
def stored(lab, hub, place):  # noqa: F811 - pytest's way
    """Put a model into the lab's store; return its revision."""
    row = pull_models(hub, place)[0]
    place.rename(lab.folder / "store")
    return row["revision"]


def test_an_export_lies_on_this_machine_and_is_verified(lab, stored):
    done = lab.run("export", "usb", MODEL)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{MODEL} at {stored[:12]}: downloaded\n"
    usb = lab.here / "usb"
    assert verify.verify_all(usb, [], quiet()) == [{"model": MODEL, "revision": stored, "problems": []}]
    assert [path.name for path in usb.iterdir()] == ["lab"]
    again = json.loads(lab.run("export", usb, MODEL, "--json").stdout)
    assert (again["changed"], again["models"][0]["path"]) == (False, str(usb / MODEL / stored))
    assert lab.calls().count("tar ") == 1  # what is there is not sent again


def test_an_export_damaged_in_transfer_is_not_published(lab, stored):
    flip = "import sys; b = bytearray(sys.stdin.buffer.read()); b[len(b) // 2] ^= 1; sys.stdout.buffer.write(b)"
    program(lab.folder / "host/tar", f'#!/bin/sh\n/bin/tar "$@" | {sys.executable} -c "{flip}"\n')
    answer = json.loads(lab.run("export", "usb", MODEL, "--json").stdout)
    assert answer["errors"][0]["code"] == "model_damaged"
    assert not (lab.here / "usb" / MODEL / stored).exists()
    assert not list((lab.here / "usb").glob(".arriving-*"))


class OneEngine(Handler):
    """An engine that serves; as another endpoint it wants a key."""

    def do_GET(self):
        answers = {"/health": {}, "/version": {"version": "0.32.0"}, "/metrics": {}}
        if self.headers["Authorization"] == "Bearer secret":
            answers["/v1/models"] = {"data": [{"id": "other"}]}
        self.send_response(200 if self.path in answers else 401)
        self.end_headers()
        self.wfile.write(json.dumps(answers.get(self.path, {})).encode())


def test_a_bench_on_the_lab_leaves_its_files_on_this_machine(lab):
    program(lab.folder / "engine/bin/vllm", VLLM, python=sys.executable)
    key = lab.here / "key"
    key.write_text("secret\n")
    with served(OneEngine) as server:
        for agent in lab.plan["agents"]:
            agent["engine_port"] = server.server_port
        lab.plan["engine_path"] = str(lab.folder / "engine")
        (lab.folder / "plan.json").write_text(json.dumps(lab.plan))
        url = f"http://127.0.0.1:{server.server_port}"
        words = ["bench", "dev", "--parallel", "1", "--against", url, "--against-key", "key"]
        done = lab.run(*words)
        to = lab.run(*words, "--to", "made", "--json")
    assert done.returncode == 0, done.stderr
    files = done.stdout.splitlines()[-2:]
    assert [Path(file).parent for file in files] == [lab.here] * 2
    assert json.loads((lab.here / files[0]).read_text())["against"]["model"] == "other"
    assert (lab.here / files[1]).read_text().startswith("<svg")
    answer = json.loads(to.stdout)
    assert answer["host"] == "lab"
    assert {Path(file).parent for file in answer["files"].values()} == {lab.here / "made"}
    assert "secret" not in lab.calls()
    missing = json.loads(lab.run("bench", "dev", "--against", url, "--against-key", "no", "--json").stdout)
    assert missing["errors"][0]["code"] == "key_unreadable"


def test_the_lab_s_ollama_becomes_a_roster_on_this_machine(lab):
    ollama = Store(lab.folder / "ollama")
    ollama.add("qwen2.5:7b", gguf_head(architecture="qwen2"))
    done = lab.run("import", "ollama", "--store", ollama.folder, "--to", "roster.yml")
    assert "agents:" in (lab.here / "roster.yml").read_text(), done.stderr
    assert "roster.yml: written" in done.stderr
    assert "FROM" in done.stdout
    assert lab.run("import", "ollama", "--store", ollama.folder, "--to", "roster.yml").returncode == 2


def test_a_file_of_this_machine_is_on_the_host_only_during_the_command(lab):
    texts = lab.here / "texts"
    texts.write_text("one\ntwo\n")
    with remote.uploaded("lab", texts) as there:
        assert remote.shell("lab", 'cat "$1"', "read", there) == "one\ntwo"
    assert not Path(there).exists()
    answer = json.loads(lab.run("quantize", "a/b", "fp8", "--calibration", "texts", "--json").stdout)
    assert answer["errors"][0]["code"] == "model_not_in_store"
    assert re.search(r"^roundhouse quantize a/b fp8 --json --calibration /tmp/", lab.calls(), re.MULTILINE)
    answer = json.loads(lab.run("quantize", "a/b", "fp8", "--calibration", "none", "--json").stdout)
    assert answer["errors"][0]["code"] == "calibration_unreadable"


def test_a_failed_command_of_the_transport_is_an_error(lab):
    with pytest.raises(RoundhouseError) as error:
        remote.shell("lab", "exit 3")
    assert (error.value.code, error.value.fields["status"]) == ("host_command_failed", 3)
    with pytest.raises(RoundhouseError) as error, remote.output_of("lab", ["sh", "-c", "echo a; exit 4"]) as stream:
        assert stream.read() == b"a\n"
    assert error.value.fields["status"] == 4
