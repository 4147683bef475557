"""`longtake models`: what people read of each model before they choose one."""

import shutil
from pathlib import Path

import pytest

from cli.main import main
from tests.helpers.presets import change_preset, write_fake_preset

CANNY = {"repository": "org/canny", "revision": "main", "files": ["config.json"], "into": "controlnet/canny"}
DOWNLOAD = {
    "kind": "pipeline",
    "repositories": [{"repository": "org/drawn", "revision": "main", "files": ["model_index.json"]}],
    "optional": {"canny": CANNY},
}
CARD = {
    "source": "https://example.com/drawn",
    "licence": "CC0-1.0",
    "disk_gb": 2.5,
    "gpu_memory_gb": 6,
    "notes": "Short clips.",
}


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights folder of a preset of a Hub that takes a picture, a control video and sizes."""
    folder = write_fake_preset(tmp_path / "presets", "drawn", accepts_image=True)
    size = {"multiple_of": 8, "min_side": 64, "max_side": 512, "max_pixels": 512 * 512}
    change_preset(
        folder, video="whole", control=["canny"], size=size, prompt="without_image", download=DOWNLOAD, card=CARD
    )
    monkeypatch.setenv("LONGTAKE_PRESETS_DIR", str(tmp_path / "presets"))
    monkeypatch.setenv("LONGTAKE_WEIGHTS_DIR", str(tmp_path / "weights"))
    return tmp_path / "weights" / "drawn"


def facts(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = capsys.readouterr().out.splitlines()[1:]
    return {label: text for label, _, text in (line.strip().partition(" " * 2) for line in lines)}


@pytest.mark.usefixtures("drawn")
def test_a_model_tells_what_it_takes_what_it_needs_and_what_installs_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "drawn"]) == 0

    told = {label: text.strip() for label, text in facts(capsys).items() if label}
    assert told == {
        "inputs": "prompt of up to 16 tokens, or an image; video, all of it; control video: canny",
        "video": "64x64 (or sides of 64 to 512 in steps of 8), 8 frames per second, or another rate",
        "length": "16 to 9600 frames, or without end",
        "needs": "2.5 GB of disk; GPU with 6 GB",
        "licence": "CC0-1.0",
        "source": "https://example.com/drawn",
        "note": "Short clips.",
        "installed": "no: `longtake pull drawn` downloads its weights",
        "control": "canny: `longtake pull drawn --with canny`",
    }


def test_an_installed_model_says_so(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (drawn / "controlnet" / "canny").mkdir(parents=True)

    assert main(["models"]) == 0

    told = facts(capsys)
    assert (told["installed"].strip(), told["control"].strip()) == ("yes", "canny: installed")


def test_a_broken_preset_is_named_and_hides_no_other(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    presets = drawn.parents[1] / "presets"
    shutil.copytree(presets / "drawn", presets / "broken")
    change_preset(presets / "broken", height=15)

    assert main(["models"]) == 1

    printed = capsys.readouterr()
    assert printed.out.startswith("drawn: ")
    assert printed.err.startswith("broken cannot be used: ")
    assert "height" in printed.err


@pytest.mark.usefixtures("drawn")
def test_an_unknown_model_is_refused_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "huge"]) == 1
    assert "use one of: drawn" in capsys.readouterr().err
