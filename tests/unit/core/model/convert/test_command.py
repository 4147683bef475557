"""`longtake convert`: arguments, summary, named errors."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cli.commands.convert import summary_lines
from cli.main import main
from core.model.convert.summary import Summary, WrittenPart
from tests.helpers.checkpoints import save_lightning, save_refiner, streaming_weights


@pytest.fixture(autouse=True)
def _keep_signal_handlers() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest calls it
    """The command takes over the process's signals; the test's process gets its own back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_lightning(streaming_weights(), tmp_path_factory.mktemp("source") / "streaming_t2v.ckpt")


def test_a_checkpoint_is_converted_summarized_and_verified(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "weights"

    assert main(["convert", "streaming-t2v", str(source), "--out", str(out), "--dtype", "bfloat16"]) == 0
    said = capsys.readouterr()
    assert "bfloat16, read as float32" in said.out
    assert "image_encoder/" in said.out
    assert "never run or imported: argparse.Namespace" in said.out
    assert "progress" in said.err

    assert main(["convert", "verify", str(out)]) == 0
    assert "12 files are unchanged" in capsys.readouterr().out


def test_the_refiner_is_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unet, text, vae = save_refiner(tmp_path)
    files = ["--unet", str(unet), "--text", str(text), "--vae", str(vae)]

    assert main(["convert", "vid2vid", *files, "--out", str(tmp_path / "out")]) == 0
    assert "not used and were left out" in capsys.readouterr().out


def test_an_error_has_its_code_first_and_keeps_its_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "wrong.ckpt")

    assert main(["convert", "streaming-t2v", str(tmp_path / "wrong.ckpt"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("longtake: checkpoint_mismatch: ")
    assert "\n  unexpected (a 1):\n    a [2]\n" in said


def test_a_changed_file_fails_the_verification(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["convert", "streaming-t2v", str(source), "--out", str(tmp_path / "out")])
    (tmp_path / "out" / "cam" / "config.json").write_text("{}")

    assert main(["convert", "verify", str(tmp_path / "out")]) == 1
    assert "longtake: weights_damaged: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["streaming-t2v", "a.ckpt"], "--out"),
        (["vid2vid", "--unet", "a", "--text", "b", "--out", "c"], "--vae"),
        (["streaming-t2v", "a.ckpt", "--out", "b", "--dtype", "int8"], "--dtype"),
        ([], "<what>"),
    ],
    ids=["no folder", "no autoencoder", "no such type", "nothing"],
)
def test_what_is_wrong_with_the_arguments_is_named(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["convert", *arguments])
    assert caught.value.code == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["streaming-t2v", "vid2vid", "verify"])
def test_every_conversion_explains_itself(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["convert", kind, "--help"])
    said = capsys.readouterr().out
    assert "examples:" in said
    assert f"longtake convert {kind} " in said


def test_the_summary_says_what_is_out_of_the_ordinary() -> None:
    part = WrittenPart("unet", 1_411_230_000, 2_822_460_000, 2)
    usual = Summary(Path("weights"), "bfloat16", (part,), True, ("float32",), 0, ())

    assert [line.startswith("note") for line in summary_lines(usual)] == [False, False, False]
    unusual = Summary(Path("weights"), "bfloat16", (part,), False, ("float16", "float32"), 6, ("os.system",))
    assert sum(line.startswith("note") for line in summary_lines(unusual)) == 3
