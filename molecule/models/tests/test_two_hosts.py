"""Two hosts pull a hub's models with the role: identical bytes, downloaded once, also from one host to the other."""

import json

from conftest import PAIR, STORE, WEIGHTS, folder, sums, wanted
from faulty_hub import TOKEN

NO_HUB = {"HF_ENDPOINT": "http://127.0.0.1:9"}


def test_check_mode_lists_the_pulls_and_writes_nothing(hub, pair, play, lock):
    done = play("--check", "--diff")
    assert done.returncode == 0, done.output
    assert done.changed() == list(PAIR)
    assert done.output.count("would pull lab/small at main") == len(PAIR)
    assert not lock.exists()
    assert hub.sent_bytes() == 0
    assert not any(host.file(STORE).exists for host in pair)


def test_both_hosts_get_the_hubs_bytes_and_the_second_run_needs_no_hub(hub, pair, play, lock):
    first = play()
    assert first.returncode == 0, first.output
    assert first.changed() == list(PAIR)
    assert all(sums(host, folder(hub)) == wanted(hub) for host in pair)
    locked = json.loads(lock.read_text())["models"]["lab/small@main"]
    assert folder(hub).endswith(locked["revision"])
    before = len(hub.log)
    again = play(models_environment=NO_HUB)
    assert again.returncode == 0, again.output
    assert again.changed() == []
    assert len(hub.log) == before


def test_a_host_repairs_a_file_from_the_hub_and_is_the_source_of_another(hub, pair, play):
    pair[0].check_output(f"printf x | dd of={folder(hub)}/{WEIGHTS} bs=1 seek=5000 conv=notrunc status=none")
    pair[1].check_output(f"rm -rf {STORE}")
    before, out = len(hub.log), hub.out
    both = play(models_source=PAIR[0])  # the first host repairs its file from the hub, the other pulls from the first
    assert (both.returncode, both.changed()) == (0, list(PAIR)), both.output
    assert {sent.path.rpartition("/")[2] for sent in hub.log[before:] if sent.size} == {WEIGHTS}
    assert hub.out - out == (hub.repositories.folder("lab/small") / WEIGHTS).stat().st_size
    assert all(sums(host, folder(hub)) == wanted(hub) for host in pair)


def test_a_host_outside_the_play_can_be_the_source(hub, pair, play):
    pair[1].check_output(f"rm -rf {STORE}")
    before = len(hub.log)
    alone = play(limit=PAIR[1:], models_source=PAIR[0], models_environment=NO_HUB)
    assert alone.returncode == 0, alone.output
    assert (alone.changed(), len(hub.log)) == ([PAIR[1]], before)
    assert sums(pair[1], folder(hub)) == wanted(hub)
    listening = pair[0].check_output("timeout 60 sh -c 'while ss -ltn | grep -q :8098; do sleep 0.2; done'; ss -ltn")
    assert ":8098" not in listening


def test_a_missing_repository_and_a_misplaced_token_give_one_sentence(hub, pair, play):
    """Check both errors in one run: the first host's model does not exist, the second's token is in the wrong place."""
    for host in pair:
        host.check_output(f"rm -rf {STORE}")

    def by_host(first, second):
        return f"{{{{ {first!r} if inventory_hostname == '{PAIR[0]}' else {second!r} }}}}"

    models = by_host("lab/none", "lab/other")  # the lock has neither
    environment = by_host({"HF_ENDPOINT": hub.url}, {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN})
    done = play(lab_model=models, models_environment=environment)
    assert done.returncode != 0
    assert "code: model_not_found" in done.output
    assert "code: token_in_environment" in done.output
    assert TOKEN not in done.output
    assert not any(host.file(STORE).exists for host in pair)
