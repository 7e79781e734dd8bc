"""A real HAProxy that announces something else than the host's state is corrected."""

import shutil

import pytest
from clock import until
from real_gateway import create_files, starting

from roundhouse.gateway import haproxy
from roundhouse.state import serving, switch_journal
from roundhouse.switch import recovery

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does")


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    create_files(tmp_path, monkeypatch)
    yield from starting(tmp_path)


def test_a_gateway_that_missed_the_end_of_a_switch_gets_it_again(gateway):
    table = gateway()
    until(lambda: haproxy.is_current(table.plan))
    assert recovery.Recovery().due(table.plan) is None
    table.publish(dev="wait:60", po="wait:60")  # as during a switch, whose end HAProxy did not accept
    assert not haproxy.is_current(table.plan)
    assert recovery.Recovery().due(table.plan) == recovery.ROUTES
    haproxy.publish_routes(table.plan, print)
    assert haproxy.is_current(table.plan)


def test_a_file_that_differs_is_written_again_also_without_a_gateway(gateway):
    table = gateway()
    table.end()
    haproxy.routes_path().write_text("dev wait:60\npo off:60\n")
    assert not haproxy.is_current(table.plan)
    haproxy.publish_routes(table.plan, print)
    assert haproxy.is_current(table.plan)
    haproxy.routes_path().unlink()
    assert not haproxy.is_current(table.plan)


def test_a_switch_that_begins_while_routes_are_published_is_published_last(gateway, monkeypatch):
    table = gateway()
    begun = []

    def send(commands):
        if not begun:  # between the derivation and the publication
            begun.append(True)
            switch_journal.Journal("po", ["dev"]).begin()
            monkeypatch.setattr(haproxy, "_LOCK_SECONDS", 0.2)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(haproxy, "send", begun.append)
                haproxy.publish_routes(table.plan, str)

    monkeypatch.setattr(haproxy, "send", send)
    haproxy.publish_routes(table.plan, print)
    assert serving.serving() == ["dev"]
    assert len(begun) == 2  # the second waited, and its routes have the switch
    assert "dev wait" in begun[1][0]
