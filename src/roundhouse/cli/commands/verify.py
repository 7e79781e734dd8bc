"""`verify`: compare the store with the checksums."""

from __future__ import annotations

import argparse

from .. import command, model_options

INTERRUPTED = model_options.KEPT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the models."""
    model_options.add_models(parser)
    model_options.add_store(parser)


def run(args: argparse.Namespace) -> command.Answer:
    """Verify the named models, or all."""
    from ...models import verify
    from ...util import progress

    place = model_options.store(args)
    names = [model_options.named(text) for text in args.models]
    with progress.on_stream(as_json=args.json) as shown:
        rows = verify.verify_all(place, names, shown)
    text = ["\n".join(row["problems"]) or f"{row['model']} at {row['revision'][:12]} is complete" for row in rows]
    problems = [problem for row in rows for problem in row["problems"]]
    return model_options.with_problems("model_damaged", problems, {"models": rows}), "\n".join(text)
