"""The control service's unit grants what a switch and a recovery do."""

import jinja2

from roundhouse.gateway import config
from roundhouse.host import systemd
from roundhouse.paths import CHECKOUT
from roundhouse.plan import deployed, plan_sets
from roundhouse.state import serving

TEMPLATE = CHECKOUT / "roles/gateway/templates/roundhouse-control.service.j2"


def settings(accelerator):
    """Return the values of each setting of the unit."""
    text = jinja2.Template(TEMPLATE.read_text()).render(gateway_plan={"accelerator": accelerator}, ansible_managed="")
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).extend(value.split())
    return found


def test_a_recovery_may_write_the_plan_the_units_and_the_state():
    writable = settings("cpu")["ReadWritePaths"]
    for path in (deployed.PATH, config.FOLDER, plan_sets.FOLDER, systemd.FOLDER, serving.FOLDER):
        assert any(str(path).startswith(place) for place in writable), path


def test_the_driver_has_made_its_devices_before_the_service_starts():
    with_driver, without = settings("cuda"), settings("cpu")
    assert "roundhouse-devices.service" in with_driver["After"]
    assert "roundhouse-devices.service" in with_driver["Wants"]
    assert "roundhouse-devices.service" not in without["After"]
    assert "roundhouse.service" in without["After"]
