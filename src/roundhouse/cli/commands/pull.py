"""`pull`: download models into the store."""

from __future__ import annotations

import argparse

from .. import command, model_options

EPILOG = "A model appears in the store only when it is complete and verified.\n"
INTERRUPTED = model_options.KEPT
check = model_options.requests  # raises its UsageError before a host or a client is asked


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the models and their source."""
    model_options.add_models(parser)
    model_options.add_store(parser)
    model_options.add_source(parser)


def run(args: argparse.Namespace) -> command.Answer:
    """Download them."""
    from ...models import planned
    from ...plan import deployed

    model_options.use_client(args)
    place, source = model_options.store(args), model_options.source(args)
    wanted = model_options.requests(args) or planned.to_pull(deployed.load()["agents"], place, source)
    return model_options.downloaded(model_options.download(args, place, source, wanted))
