"""Memory of converting and of loading, and interrupted conversions, on a Lightning file of 2.2 GB (1.4 GB of weights).

Anonymous memory is what a process cannot give back under pressure; pages of mapped files are not counted, as the kernel
drops them when it needs to. It is sampled from /proc while the process runs.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from core.model.convert.expected import expected_streaming
from core.model.convert.open_clip import TextSizes, VisualSizes
from core.model.convert.safe_file import open_checkpoint
from core.model.convert.sizes import StreamingSizes, unet_config, vae_config
from tests.helpers.deadline import eventually

SIZES = StreamingSizes(
    unet=unet_config(widths=(128, 256, 512, 512), text_width=256),
    vae=vae_config(widths=(32, 32, 64, 64)),
    text=TextSizes(width=256, inner_width=512, num_layers=2, vocabulary=1000),
    visual=VisualSizes(width=160, inner_width=320, num_layers=2, embedding_width=256),
    picture_channels=(16, 32, 64, 96),
)
SAMPLE_EVERY_SECONDS = 0.01
BLOCK = bytes(range(64)) * (1 << 17)

LOAD = """
import sys
from pathlib import Path
import torch
from core.model.engines.streaming_t2v.networks import load_network
print("ready", flush=True)
sys.stdin.readline()
load_network(Path(sys.argv[1]), dtype=torch.bfloat16)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the large files go; they are not kept for later inspection."""
    folder = tmp_path_factory.mktemp("large")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    """A Lightning file that was never in memory: torch leaves room for its data, which follow in blocks."""
    file = folder / "streaming_t2v.ckpt"
    shapes = expected_streaming(SIZES).required
    with torch.serialization.skip_data():
        weights = {name: torch.empty(shape) for name, shape in shapes.items()}
        trained = [shape for name, shape in shapes.items() if name.startswith("unet.")]
        moments = {
            index: {"exp_avg": torch.empty(shape), "exp_avg_sq": torch.empty(shape)}
            for index, shape in enumerate(trained)
        }
        torch.save({"epoch": 3, "state_dict": weights, "optimizer_states": [{"state": moments}]}, file)
    with file.open("r+b") as stream:
        for tensor in open_checkpoint(file).values():
            stream.seek(tensor.offset)
            for start in range(0, tensor.num_bytes, len(BLOCK)):
                stream.write(BLOCK[: tensor.num_bytes - start])
    return file


@pytest.fixture(scope="module")
def converted(folder: Path, checkpoint: Path) -> tuple[Path, int]:
    """The folder of weights in bfloat16, and the most anonymous memory that converting took."""
    out = folder / "weights"
    process = convert(checkpoint, out)
    peak = peak_anonymous_bytes(process)
    assert process.returncode == 0
    return out, peak


def convert(checkpoint: Path, out: Path) -> subprocess.Popen[bytes]:
    """`longtake convert streaming-t2v` in the background."""
    command = [sys.executable, "-m", "cli.main", "convert", "streaming-t2v", str(checkpoint), "--dtype", "bfloat16"]
    return subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def anonymous_bytes(process: subprocess.Popen[bytes]) -> int:
    """RssAnon of a process; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def peak_anonymous_bytes(process: subprocess.Popen[bytes]) -> int:
    """The largest sample until the process ends."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous_bytes(process))
        try:
            process.wait(SAMPLE_EVERY_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    return peak


def weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def test_the_checkpoint_is_large_and_mostly_optimizer_is_left(checkpoint: Path, converted: tuple[Path, int]) -> None:
    assert checkpoint.stat().st_size > 2.2e9
    assert weight_bytes(converted[0]) == pytest.approx(352.3e6 * 2, rel=0.01)


def test_converting_needs_less_than_1_3_times_the_weights_kept(converted: tuple[Path, int]) -> None:
    out, peak = converted
    print(f"kept {weight_bytes(out) / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB of anonymous memory")  # noqa: T201

    assert 0 < peak <= 1.3 * weight_bytes(out)


def test_the_weights_kept_are_the_checkpoints(checkpoint: Path, converted: tuple[Path, int]) -> None:
    name = "mid_block.resnets.0.conv1.weight"
    with safe_open(converted[0] / "unet" / "model.safetensors", framework="pt") as written:
        kept = written.get_tensor(name)

    original = open_checkpoint(checkpoint)[f"base_model.{name}"].load()
    assert original.any()
    assert torch.equal(kept, original.bfloat16())


def test_loading_needs_the_weights_once(converted: tuple[Path, int]) -> None:
    folder = converted[0]
    size = sum(weight_bytes(folder / part) for part in ("unet", "cam", "conditioning"))
    process = subprocess.Popen([sys.executable, "-c", LOAD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    before = anonymous_bytes(process)
    process.stdin.write(b"go\n")
    process.stdin.close()
    peak = peak_anonymous_bytes(process) - before
    process.stdout.close()

    assert process.returncode == 0
    print(f"weights {size / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB beside the libraries")  # noqa: T201
    assert 0.9 * size < peak <= 1.25 * size


def test_a_terminated_conversion_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    process = convert(checkpoint, tmp_path / "weights")
    eventually(lambda: any(tmp_path.rglob("unet/*.safetensors")), "the first file")
    assert not (tmp_path / "weights").exists()

    process.terminate()

    assert process.wait(60) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
