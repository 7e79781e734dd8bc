"""`quantize MODEL RECIPE`: quantize a 16-bit model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import pins
from ...catalog.recipes import GROUP_SIZES, RECIPES
from ...errors import UsageError
from ...models import own_folders, store
from ...plan import deployed
from ...util import console
from .. import command, model_options, remote, target_host

INTERRUPTED = model_options.KEPT
EPILOG = (
    "A quantized model enters the store only if its answers stay close to the original's.\n\nrecipes:\n"
    + "\n".join(f"  {name:<12}{recipe.about}" for name, recipe in RECIPES.items())
    + "\n"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the recipe and their settings."""
    parser.add_argument(
        "model", metavar="OWNER/NAME|FOLDER", help="a 16-bit model of the store, or a folder of the target host"
    )
    parser.add_argument("recipe", choices=RECIPES, metavar="RECIPE", help="a recipe from below")
    parser.add_argument(
        "--group-size",
        type=int,
        choices=GROUP_SIZES,
        metavar="N",
        help="weights of a group (default: the recipe's, or less)",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="local file with a calibration text on each line (default: Python's reference)",
    )
    parser.add_argument("--samples", type=int, metavar="N", help="number of calibration texts (default: the recipe's)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the random choice of texts (default: 0)"
    )
    parser.add_argument(
        "--offload-gib", type=float, metavar="GIB", help="GiB of weights in RAM while the answers are compared"
    )
    parser.add_argument(
        "--environment",
        type=Path,
        metavar="FOLDER",
        help=f"Python environment of the quantizer (default: in {pins.QUANTIZERS})",
    )
    parser.add_argument("--engine", type=Path, metavar="FOLDER", help="vLLM's environment (default: the plan's)")
    parser.add_argument("--accelerator", choices=("cuda", "cpu"), help="device of the comparison (default: the plan's)")
    model_options.add_store(parser)


def run(args: argparse.Namespace) -> command.Answer:
    """Quantize the model."""
    from ...quantize import pipeline, request

    place = model_options.store(args)
    base, name, revision = _base(args.model, place)
    options = request.Options(args.group_size, args.samples, args.seed, args.calibration)
    wanted = request.of(base, name, revision, args.recipe, options)
    plan = deployed.load() if deployed.PATH.exists() else None
    engine = args.engine or (plan["engine_path"] if plan else None)
    accelerator = args.accelerator or (plan["accelerator"] if plan else None)
    if not engine or not accelerator:
        raise UsageError(
            "engine_missing",
            "The comparison needs an engine, and none is deployed here.",
            "Run site.yml, or add --engine.",
        )
    if not (Path(engine) / "bin/vllm").exists():
        text, remedy = "{engine} has no bin/vllm, which the comparison needs.", "Run site.yml, or correct --engine."
        raise UsageError("engine_missing", text, remedy, engine=str(engine))
    if accelerator == "cuda":
        pipeline.require_free_gpu()
    scorer = pipeline.local_scorer(str(engine), accelerator, args.offload_gib)
    result = pipeline.quantize(wanted, place, args.environment or _environment(), scorer, console.lines())
    return {**result}, _shown({**result})


def elsewhere(args: argparse.Namespace, target: str) -> command.Answer:
    """Make it on another host; --calibration is a file of this machine."""
    words = [
        *(word for word in target_host.without(args.arguments, "--on", "--calibration") if word != "--json"),
        "--json",
    ]
    if args.calibration is None:
        result = remote.ask(target, words)
    else:
        _require_file(args.calibration)
        with remote.uploaded(target, args.calibration) as there:
            result = remote.ask(target, [*words, "--calibration", there])
    return result, _shown(result)


def _require_file(path: Path) -> None:
    if not path.is_file():
        text, remedy = "--calibration {path} is not a file of this machine.", "Name a file with a text on each line."
        raise UsageError("calibration_unreadable", text, remedy, path=str(path))


def _shown(result: Mapping[str, Any]) -> str:
    quality = result["quality"]
    said = f"admitted: KL {quality['kl']:.5f}, top-1 {quality['top1']:.3f}" if quality else "in the store already"
    return f"{result['model']} is {said}\nIn the roster: model: {result['path']}"


def _base(text: str, place: Path) -> tuple[Path, str, str | None]:
    """Return the base's folder, its name in a roster, and its revision or stamp."""
    if text.startswith(("/", ".")):
        folder = Path(text).absolute()
        return folder, str(folder), own_folders.stamp(folder)
    model, _, asked = text.partition("@")
    found = [held for held in store.manifests(place, model) if (asked or held.revision) in (held.revision, held.asked)]
    if not found:
        what, remedy = "{model} is not in {store}.", "Run `{program} pull {model}`."
        program = console.command_name()
        raise UsageError("model_not_in_store", what, remedy, program=program, model=text, store=str(place))
    return store.folder(place, model, found[0].revision), model, found[0].revision


def _environment() -> Path:
    found = sorted(pins.QUANTIZERS.glob("*/bin/python"))
    if not found:
        remedy = "Run ansible-playbook playbooks/quantize.yml."
        raise UsageError("quantizer_missing", "{folder} is empty.", remedy, folder=str(pins.QUANTIZERS))
    return found[-1].parents[1]
