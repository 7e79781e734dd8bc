"""The man page and bash's completion are generated from the help, and the completion works."""

import json
import subprocess

from roundhouse.cli import command, manual


def completed(script, *words):
    """Return bash's completions for these words, the last of which is incomplete."""
    told = f"{script}\nCOMP_WORDS=(roundhouse {' '.join(map(repr, words))}); COMP_CWORD={len(words)}; _roundhouse\n"
    asked = told + 'printf "%s\\n" "${COMPREPLY[@]}"'
    return subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True).stdout.split()


def test_the_manual_page_has_every_command_and_option():
    page = manual.page()
    assert page.startswith(".TH ROUNDHOUSE 1 ")
    assert "roundhouse \\- switch the LLM agent on the GPU" in page
    for name in command.NAMES:
        listed = name.replace("-", "\\-")
        assert f"\n  {listed} " in page
        assert f"\n.SS {name}\n" in page
    assert "\\-\\-drain SECONDS" in page
    assert page.count("switch.py") == 0


def test_bash_completes_agents_words_and_options(tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"agents": [{"name": "dev"}, {"name": "po"}]}))
    script = manual.completion(str(plan))
    assert completed(script, "d") == ["dev", "doctor"]
    assert completed(script, "logs", "") == ["dev", "po"]
    assert completed(script, "help", "")[:2] == ["man", "completion"]
    assert completed(script, "quan") == ["quantize"]
    assert completed(script, "--") == ["--help", "--json", "--on"]
    assert completed(script, "gpu", "--") == ["--help", "--json", "--on"]
    assert "--drain" in completed(script, "dev", "--dr")
    assert completed(script, "--on", "lab", "watch", "--r") == ["--rounds"]
    assert "quantize" in completed(script, "help", "q")
    plan.unlink()
    assert completed(script, "st") == ["stop", "status"]
