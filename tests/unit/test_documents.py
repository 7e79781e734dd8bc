"""The documents: the program accepts each command in them, and CI runs it or its block says what it needs instead.

Each page is linked, each link leads to a page, and the generated references are complete.
"""

import json
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import error_codes
import error_table
import metrics_table
import pytest
import settings_table
import suites
import yaml

from roundhouse.cli import command, main, setup
from roundhouse.errors import UsageError
from roundhouse.gateway import config
from roundhouse.paths import CHECKOUT as ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
KINDS = ("tutorial", "how-to", "reference", "explanation")
RAN = json.loads((ROOT / "tests/fixtures/documented.json").read_text())
# How a test of CI runs a word of the command: on a host, or in this process.
RUN = r"""(roundhouse (--json )?|switch\.py |(ask|run|switch|refused|command|told)\(|main\(\[)["']?{word}\b"""
# How a block of shell says that CI cannot run it: ```sh title="needs a GPU".
NEEDS = re.compile(r' title="needs [^"]+"')
AGENTS = ("architect", "dev", "po")
COMMAND = ("roundhouse", "scripts/switch.py")
# What the shell, and programs of others, do in a document: nothing of ours to check.
SHELL = (".", "set", "cd", "export")
OTHERS = (
    *SHELL,
    "git",
    "python",
    "python3",
    "~/examples/bin/python",
    "curl",
    "docker",
    "nvidia-smi",
    "systemctl",
    "ufw",
)
# The commands that need no root on a host, as docs/reference/command.md lists them.
WITHOUT_ROOT = {"gpu", "history", "plan", "plans", "suggest", "models", "export", "import"}


def commands(*, ran=False):
    """Return (document, line) of each command in a block of shell, or of those that CI runs."""
    found = []
    for file in DOCUMENTS:
        for title, block in re.findall(r"^ *```sh([^\n]*)\n(.*?)^ *```", file.read_text(), re.MULTILINE | re.DOTALL):
            assert not title or NEEDS.fullmatch(title), f"{file.name}: {title}"
            lines = textwrap.dedent(block).replace("\\\n", " ").splitlines() if not (ran and title) else []
            found += [(file.name, line) for line in lines if line.strip() and not line.startswith("#")]
    return found


def commands_in_prose():
    """Return (document, words) of each command in a sentence or a table."""
    found = []
    for file in DOCUMENTS:
        text = re.sub(r"^```.*?^```", "", file.read_text(), flags=re.MULTILINE | re.DOTALL)
        found += [
            (file.name, words(each))
            for each in re.findall(r"`((?:sudo )?(?:roundhouse|scripts/switch\.py|make|ansible-playbook) [^`]+)`", text)
        ]
    return found


def words(line):
    """Return the words of a command without what is around it: sudo, what it is written to, the comment."""
    found = shlex.split(line, comments=True)
    return found[1:] if found[0] == "sudo" else found


OURS = [(name, words(line)) for name, line in commands()]
IN_THE_TEXT = [
    (name, [told[0], *(word for word in told[1:] if word != "--json")]) for name, told in commands_in_prose()
]


def of(*programs, more=()):
    found = [(name, told) for name, told in (*OURS, *more) if told[0] in programs]
    return [pytest.param(told, id=f"{name}: {' '.join(told)[:60]}") for name, told in found]


def bare(line):
    """Return a command as tests/fixtures/documented.json has it: without its comment and its sudo."""
    return re.sub(r"\s+# .*", "", line).strip().removeprefix("sudo ")


# What this file runs itself.
ITSELF = ("scripts/plan.py",)
DONE = sorted({bare(line) for _, line in commands(ran=True) if not bare(line).startswith(ITSELF)})


# The recipes of `make test` and `make test-all`: what CI runs.
CI = "".join(re.findall(r"^test(?:-all)?: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
SUITES = {name for names in re.findall(r"lab/suites\.py (.+)", CI) for name in names.split()}
SCENARIOS = SUITES - suites.SUITES.keys()
# These take longer than CI has. Unit tests hold each of their decisions.
BY_HAND = {"real-hosts", "rhel"}


def test_ci_runs_every_suite():
    scenarios = {file.parent.name for file in (ROOT / "molecule").glob("*/molecule.yml")}
    assert scenarios | suites.SUITES.keys() == SUITES | BY_HAND


@pytest.mark.parametrize("command", DONE)
def test_ci_runs_each_documented_command(command):
    assert command in RAN, "name in tests/fixtures/documented.json what of CI runs it, or title its block: needs a GPU"
    file, text = RAN[command]
    assert text in (ROOT / file).read_text()
    scenario = re.match(r"molecule/([^/]+)/", file)
    assert not scenario or scenario[1] in SCENARIOS
    assert file != "lab/demo.py" or "demo" in SUITES


def test_the_recorded_commands_equal_the_documented_ones():
    assert sorted(RAN.keys() - {"about"}) == DONE


def test_the_documents_contain_only_known_commands():
    ours = ("roundhouse", "scripts/switch.py", "scripts/plan.py", "scripts/setup_vllm.py", "scripts/agent_manager.py")
    known = (*ours, "make", "ansible-playbook", "molecule", "eval", *OTHERS)
    assert [(name, told) for name, told in OURS if told[0] not in known] == []
    assert len(OURS) > 40


def test_a_command_on_a_host_has_sudo_if_it_needs_root():
    lines = [(file, line.strip().split()) for file, line in commands()]
    on_a_host = [(file, line) for file, line in lines if line[0] == "roundhouse" or line[:2] == ["sudo", "roundhouse"]]
    assert len(on_a_host) > 20
    wrong = [
        (file, " ".join(line))
        for file, line in on_a_host
        if (line[0] == "sudo") == (line[line.index("roundhouse") + 1] in WITHOUT_ROOT)
    ]
    assert wrong == []


def test_the_reference_lists_the_commands_that_need_no_root():
    text = (ROOT / "docs/reference/command.md").read_text()
    (cell,) = re.findall(r"^\| (.+) \| not needed \|$", text, re.MULTILINE)
    assert set(re.findall(r"`([a-z-]+)`", cell)) == WITHOUT_ROOT
    cells = " ".join(re.findall(r"^\| (.+) \| needed, .+ \|$", text, re.MULTILINE))
    needed = set(re.findall(r"`([a-z-]+)`", cells))
    assert needed | WITHOUT_ROOT == set(command.NAMES) - {"help", "deploy"}


@pytest.mark.parametrize("told", of(*COMMAND))
def test_the_command_accepts_each_documented_call(told):
    arguments = told[1 : told.index(">")] if ">" in told else told[1:]
    try:
        found, args = main.parse(arguments)
    except UsageError as error:
        pytest.fail(f"{told}: {error.message}")
    assert found.name != "switch" or args.agent in AGENTS


@pytest.mark.parametrize(
    "word", sorted({told[1] for _, told in IN_THE_TEXT if told[0] in COMMAND} - {*AGENTS, "{name}", "NAME"})
)
def test_a_word_in_a_sentence_is_one_that_ci_runs(word):
    tests = [file for name in SCENARIOS for file in (ROOT / "molecule" / name).rglob("*.py")]
    tests += [*(ROOT / "tests/unit").glob("test_*.py"), *ROOT.rglob("roles/**/*.j2")]
    texts = [file.read_text() for file in tests if file.name != Path(__file__).name]
    assert any(re.search(RUN.format(word=word), text) for text in texts)


@pytest.mark.parametrize("told", of("scripts/plan.py"))
def test_plan_accepts_each_documented_call(told, tmp_path):
    roster = tmp_path / "roster.yml"
    roster.write_text((ROOT / "group_vars/all/agents.yml").read_text())
    line = [str(roster) if word.endswith((".yml", ".yaml")) else word for word in told]
    done = subprocess.run([sys.executable, *line], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


@pytest.mark.parametrize("told", of("scripts/setup_vllm.py"))
def test_setup_accepts_each_documented_call(told):
    args = setup.parser().parse_args(told[1:])
    assert (ROOT / args.inventory).exists()


@pytest.mark.parametrize("told", of("make", more=IN_THE_TEXT))
def test_make_has_each_documented_target(told):
    assert re.search(rf"^{told[1]}\b.*:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("told", of("ansible-playbook", more=IN_THE_TEXT))
def test_the_playbook_and_its_inventory_are_there(told):
    assert (ROOT / told[1]).is_file()
    if "--inventory" in told:
        assert (ROOT / told[told.index("--inventory") + 1]).exists()
    if "--tags" in told:
        asked = set(told[told.index("--tags") + 1].split(","))
        files = [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "roles").glob("*/tasks/*.yml")]
        texts = [file.read_text() for file in files]
        tags = re.findall(r"^ +tags: (.+)$", "\n".join(texts), re.MULTILINE)
        assert asked <= {tag for each in tags for tag in re.split(r"[\[\], ]+", each)}


def test_each_page_is_of_one_kind_and_in_the_site_and_on_the_landing_page():
    named = set(re.findall(r"([\w/-]+\.md)", (ROOT / "mkdocs.yml").read_text()))
    linked = set(re.findall(r"\]\(([\w/-]+\.md)", (ROOT / "docs/index.md").read_text()))
    pages = {str(file.relative_to(ROOT / "docs")) for file in PAGES} - {"index.md"}
    assert {page.partition("/")[0] for page in pages} == set(KINDS)
    assert pages - named == set()
    clients = {page for page in pages if page.startswith("how-to/clients/")} - {"how-to/clients/index.md"}
    assert pages - clients - linked == set()


def targets(file):
    """Return the targets of a document's links and pictures that are files here."""
    text = re.sub(r"^ *```.*?^ *```", "", file.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)


@pytest.mark.parametrize("file", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda file: str(file.relative_to(ROOT)))
def test_each_link_leads_to_a_file(file):
    assert [target for target in targets(file) if not (file.parent / target).exists()] == []


def anchors(file):
    """Return the anchors of a page's headings, as the site makes them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-") for heading in headings}


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_each_anchor_is_a_heading(file):
    found = re.findall(r"\]\((?!https?:)([^)#\s]*)#([\w-]+)\)", file.read_text())
    pages = [(file.parent / page if page else file, anchor) for page, anchor in found]
    assert [(str(page), anchor) for page, anchor in pages if anchor not in anchors(page)] == []


def test_the_search_for_links_finds_them():
    assert sum(len(targets(file)) for file in DOCUMENTS) > 100


def test_each_page_that_a_file_names_is_there():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = {name: ROOT / name for name in listed if (ROOT / name).is_file() and "fixtures" not in name}
    found = [
        (name, page)
        for name, path in texts.items()
        for page in re.findall(r"(?<![\w/.-])docs/[\w/-]+\.(?:md|svg)\b", path.read_text(errors="replace"))
    ]
    assert len(found) > 40
    assert [(name, page) for name, page in found if not (ROOT / page).exists()] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def rows(page):
    """Return the first cell of each row of a page's tables, without its marks."""
    return set(re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/reference" / page).read_text(), re.MULTILINE))


def test_each_code_of_an_error_is_in_the_reference():
    # A plain search of the source, not the generator's own.
    sources = [path.read_text() for path in (ROOT / "src").rglob("*.py")]
    raised = r"(?:RoundhouseError|UsageError|errors\.unreadable|\bunreadable)\(\s*\"([a-z][a-z0-9_]+)\""
    codes = {code for text in sources for code in re.findall(raised, text)}
    assert len(codes) > 80
    assert codes - rows("errors.md") == set()


def test_each_error_of_the_reference_has_a_meaning():
    text = (ROOT / "docs/reference/errors.md").read_text().partition("## Codes")[2]
    table = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert [cells[0] for cells in table if not cells[1].strip()] == []
    assert [cells[0] for cells in table if not cells[2].strip(" |")] == [], "an error without a remedy"
    # A cell that is a field alone, or has one of these, says nothing: its sentence is made at run time.
    empty = re.compile(r"(?:[A-Z_]+|.*\b(?:CURE|MEANT|MEANTTo|COMMANDS|SENTENCES)\b.*)[ .|]*")
    assert [cells for cells in table if any(empty.fullmatch(cell) for cell in cells[1:])] == []
    assert error_table.COMPUTED.keys() <= error_codes.all_errors().keys()


def test_each_answer_of_the_gateway_is_in_the_reference():
    templates = (ROOT / "roles/gateway/templates").glob("*.j2")
    reasons = {why for file in templates for why in re.findall(r"', '([\w-]+)', \d{3}, '", file.read_text())}
    reasons |= config.REFUSALS.keys()
    assert {"key", "path", "rate", "off"} <= reasons
    text = (ROOT / "docs/reference/errors.md").read_text()
    assert {why for why in reasons if f"| `{why}` |" not in text} == set()


def test_each_setting_is_in_the_reference():
    for role in settings_table.ROLES:
        assert set(settings_table.settings(role)) <= rows("settings.md"), role
    specification = yaml.safe_load((ROOT / "roles/preflight/meta/argument_specs.yml").read_text())
    agents = specification["argument_specs"]["main"]["options"]["agents"]["options"]
    assert set(agents) <= rows("roster.md")
    assert "models[].quantize" in rows("roster.md")


def test_each_metric_has_a_meaning():
    assert metrics_table.found().keys() == metrics_table.MEANINGS.keys()
    assert metrics_table.MEANINGS.keys() <= rows("metrics.md")
