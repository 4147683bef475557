"""`longtake convert`: published checkpoints become weights folders; `verify` reads one again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.output.byte_meter import Report
    from core.model.convert.summary import Summary

NAME = "convert"
SUMMARY = "turn published checkpoints into weights folders"
DESCRIPTION = """\
Reads a published checkpoint without running code in it, checks every weight's name, shape and type, and writes a folder
of safetensors with a config.json per network. The folder appears only when it is complete; a full disk, Ctrl-C or a
kill leaves nothing. Memory: a few hundred MB beside the largest single weight."""
EXAMPLES = """\
examples:
  longtake convert streaming-t2v streaming_t2v.ckpt --out weights/streaming-t2v --dtype bfloat16
  longtake convert vid2vid --unet non_ema_0035000.pth --text open_clip_pytorch_model.bin \\
                           --vae v2-1_512-ema-pruned.ckpt --out weights/vid2vid
  longtake convert verify weights/streaming-t2v     reads every file again and compares its checksum

`longtake convert streaming-t2v --help` explains one of them. docs/checkpoints.md has all steps.
"""

STREAMING_HELP = """\
Converts streaming_t2v.ckpt (25.6 GB: 3.23 billion weights in float32; the optimizer state in it is not read)
to unet/ cam/ conditioning/ vae/ text_encoder/ image_encoder/: 12.7 GB in float32, 6.4 GB in a half type."""
STREAMING_EXAMPLES = """\
examples:
  longtake convert streaming-t2v streaming_t2v.ckpt --out weights/streaming-t2v
  longtake convert streaming-t2v streaming_t2v.ckpt --out weights/half --dtype bfloat16     enough for `fast` on a GPU
"""
VID2VID_HELP = """\
Converts the refiner MS-Vid2Vid-XL (ModelScope's damo/Video-to-Video) to unet/ text_encoder/ vae/. The model's three
weight files are needed: UNet, OpenCLIP text encoder, and a Stable Diffusion checkpoint for its autoencoder."""
VID2VID_EXAMPLES = """\
examples:
  longtake convert vid2vid --unet non_ema_0035000.pth --text open_clip_pytorch_model.bin \\
                           --vae v2-1_512-ema-pruned.ckpt --out weights/vid2vid --dtype bfloat16
"""
VERIFY_HELP = """\
Reads every file that SHA256SUMS of a weights folder lists and reports those that are missing or changed. As that reads
the whole folder, workers do not do it at every start."""
VERIFY_EXAMPLES = """\
examples:
  longtake convert verify weights/streaming-t2v
  cd weights/streaming-t2v && sha256sum --check SHA256SUMS     the same without Longtake
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="<what>", required=True)
    streaming = _add(kinds, "streaming-t2v", "the official StreamingT2V checkpoint", STREAMING_HELP, STREAMING_EXAMPLES)
    streaming.add_argument("path", type=Path, metavar="PATH", help="streaming_t2v.ckpt")
    refiner = _add(kinds, "vid2vid", "the refiner, MS-Vid2Vid-XL", VID2VID_HELP, VID2VID_EXAMPLES)
    refiner.add_argument("--unet", type=Path, required=True, metavar="PATH", help="non_ema_0035000.pth")
    refiner.add_argument(
        "--text", type=Path, required=True, metavar="PATH", help="open_clip_pytorch_model.bin (OpenCLIP ViT-H-14)"
    )
    refiner.add_argument(
        "--vae", type=Path, required=True, metavar="PATH", help="v2-1_512-ema-pruned.ckpt (its autoencoder is used)"
    )
    for kind in (streaming, refiner):
        kind.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make: new, or empty")
        kind.add_argument(
            "--dtype",
            choices=("float32", "bfloat16", "float16"),
            default="float32",
            help="type of the weights in the folder (default: float32, as published)",
        )
    verify = _add(kinds, "verify", "compare a weights folder with its checksums", VERIFY_HELP, VERIFY_EXAMPLES)
    verify.add_argument("folder", type=Path, metavar="DIR", help="a folder that has SHA256SUMS")


def _add(
    kinds: argparse._SubParsersAction[argparse.ArgumentParser],  # pyright: ignore[reportPrivateUsage] - has no other name
    name: str,
    summary: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    return kinds.add_parser(
        name,
        help=summary,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(args: argparse.Namespace) -> int:
    from cli.processes.stop_signal import Stopped, StopSignal

    stop = StopSignal()
    stop.install()
    try:
        with stop.interruptible():
            return _verify(args.folder) if args.kind == "verify" else _convert(args)
    except Stopped as stopped:
        print("longtake: stopped; nothing was written", file=sys.stderr)
        return stopped.exit_code


def _convert(args: argparse.Namespace) -> int:
    from cli.output.byte_meter import byte_meter

    convert = _conversion(args)
    with byte_meter(sys.stderr) as report:
        summary = convert(report)
    print("\n".join(summary_lines(summary)))
    return 0


def _conversion(args: argparse.Namespace) -> Callable[[Report], Summary]:
    """The conversion that the arguments ask for."""
    from cli.commands.model_extra import model_extra

    with model_extra("converting"):
        from core.model.convert.streaming_t2v import convert_checkpoint
        from core.model.convert.vid2vid import convert_refiner
    if args.kind == "streaming-t2v":
        return lambda report: convert_checkpoint(args.path, args.out, dtype=args.dtype, report=report)
    return lambda report: convert_refiner(args.unet, args.text, args.vae, args.out, dtype=args.dtype, report=report)


def summary_lines(summary: Summary) -> list[str]:
    """What was written, as lines of text."""
    stored = ", ".join(summary.source_dtypes)
    lines = [f"{summary.folder}: {summary.dtype}, read as {stored}"]
    for part in summary.parts:
        lines.append(_row(f"{part.name}/", part.num_parameters, part.num_bytes, f"{part.num_files} file(s)"))
    lines.append(_row("all", summary.num_parameters, summary.num_bytes, "SHA256SUMS written"))
    if not summary.is_published_size:
        lines.append("note: the weights fit together, but not the sizes of the published model")
    if summary.num_ignored:
        lines.append(f"note: {summary.num_ignored} weights of the files are not used and were left out")
    if summary.placeholders:
        lines.append(f"note: objects beside the weights, never run or imported: {', '.join(summary.placeholders)}")
    return lines


def _row(name: str, num_parameters: int, num_bytes: int, remark: str) -> str:
    return f"  {name:<15} {num_parameters / 1e6:>9.2f} M weights {num_bytes / 1e9:>7.2f} GB  {remark}"


def _verify(folder: Path) -> int:
    from cli.output.byte_meter import byte_meter
    from core.model.checksums import read_sums, verify_sums

    total = sum((folder / name).stat().st_size for name in read_sums(folder) if (folder / name).is_file())
    done = 0
    with byte_meter(sys.stderr) as report:

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            report("verify", done, total)

        num_files = verify_sums(folder, on_bytes)
    print(f"{folder}: {num_files} files are unchanged")
    return 0
