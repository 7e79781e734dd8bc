"""The gateway's tests know all paths of the pinned vLLM, and the gateway passes on only paths among them."""

import json

from pinned_vllm import answer

from roundhouse.gateway import config
from roundhouse.paths import CHECKOUT as ROOT

KNOWN = json.loads((ROOT / "tests/fixtures/vllm-routes.json").read_text())


def test_the_gateways_tests_cover_all_paths_of_the_engine():
    assert answer("list_routes.py") == KNOWN
    assert {*config.READS, *config.WRITES} <= {*KNOWN}
