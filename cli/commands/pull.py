"""`longtake pull`: downloads the weights of a preset from the Hugging Face Hub."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.model.convert.summary import DtypeName
    from core.service.admission.catalog import PresetFolder

NAME = "pull"
SUMMARY = "download the weights of a model"
DESCRIPTION = """\
Downloads the weights of a model from the Hugging Face Hub, checks them and installs them in LONGTAKE_WEIGHTS_DIR:
converted for `modelscope`, as published for the others. Nothing but weights, configs and tokenizers is fetched.
After Ctrl-C or a broken connection the next pull resumes. Commit and checksums are pinned in <model>.lock.json there,
and later pulls take the same. `longtake up` and workers pull what they need."""
EXAMPLES = """\
examples:
  longtake pull modelscope
  longtake pull modelscope --refiner                 also the refiner; adds it to an installed model, too
  longtake pull text2video-zero --with canny         also its network for canny edges; now or later
  longtake pull modelscope --dtype bfloat16          half the disk space; profile `reference` is then not exact
  HF_HUB_OFFLINE=1 longtake pull modelscope          from files in <weights folder>/downloads, without a network
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a name that `longtake models` lists")
    parser.add_argument("--refiner", action="store_true", help="also the model's refiner (modelscope: 14.8 GB more)")
    parser.add_argument(
        "--with",
        action="append",
        default=[],
        dest="parts",
        metavar="PART",
        help="also an optional part, such as a type of control that `longtake models` lists; may be repeated",
    )
    parser.add_argument("--revision", help="commit, tag or branch of the (first) repository (default: as pinned)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="type of converted weights on the disk (default: float32, as published)",
    )


def run(args: argparse.Namespace) -> int:
    from cli.processes.stop_signal import Stopped, StopSignal
    from core.service.admission.catalog import Catalog
    from core.service.settings import read_settings

    preset = Catalog(read_settings()).get(args.model)
    stop = StopSignal()
    stop.install()
    try:
        with stop.interruptible():
            install(preset, args.revision, args.dtype, refiner=args.refiner, parts=args.parts)
    except Stopped as stopped:
        print("longtake: stopped; the next pull resumes here", file=sys.stderr)
        return stopped.exit_code
    extras = [*(["its refiner"] if preset.refines else []), *preset.installed_parts]
    print(
        ", with ".join([f"{args.model} is installed in {preset.weights}", *([" and ".join(extras)] if extras else [])])
    )
    originals = preset.weights.parent / "downloads"
    if originals.is_dir():
        print(f"the downloaded files are no longer needed: {originals}")
    return 0


def install(
    preset: PresetFolder,
    revision: str | None = None,
    dtype: DtypeName | None = None,
    *,
    refiner: bool = False,
    parts: Sequence[str] = (),
) -> None:
    """Pull a preset, with progress on stderr. Does nothing if it is installed as asked."""
    from cli.commands.model_extra import model_extra
    from cli.output.byte_meter import byte_meter

    with model_extra("pulling"):
        from core.model.hub import pull

        if find_spec("diffusers") is None:  # of the same extra, and imported only once there is something to convert
            raise ModuleNotFoundError("No module named 'diffusers'", name="diffusers")
    with byte_meter(sys.stderr) as report:
        pull(preset, report=report, refiner=refiner, parts=parts, revision=revision, dtype=dtype)
