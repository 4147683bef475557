"""What the demo asks for: examples of the model, along its clip, unless something else is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.commands.demo_video import DEFAULT_PROMPT, WantedVideo, wanted_video
from cli.main import parse_args
from core.service.admission.catalog import Catalog, PresetFolder
from core.service.domain.errors import SetupError
from core.service.settings import Settings
from tests.helpers.presets import write_fake_preset

EXAMPLE = "make it blue"


def preset(folder: Path, **keys: Any) -> PresetFolder:
    write_fake_preset(folder, "fake", **keys)
    return Catalog(Settings(presets_dir=folder, default_model="fake")).get("fake")


def wanted(folder: PresetFolder, *words: str) -> WantedVideo:
    return wanted_video(parse_args(["demo", *words]), folder)


def test_a_model_without_an_example_is_asked_for_ours(tmp_path: Path) -> None:
    asked = wanted(preset(tmp_path))
    assert asked.fields == {"prompt": DEFAULT_PROMPT, "seed": 4, "num_frames": 48}
    assert asked.clip is None


def test_an_editor_edits_its_clip_as_long_as_it_is(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"video": "whole", "needs_input": True, "length_of_input": True}
    folder = preset(tmp_path, example_prompts=[EXAMPLE], **keys)
    (folder.path / "example.mp4").touch()
    asked = wanted(folder)
    assert asked.fields == {"prompt": EXAMPLE, "seed": 4}
    assert (asked.clip, asked.control, asked.is_along_clip) == (folder.path / "example.mp4", None, True)
    named = wanted(folder, "--video", "mine.mp4", "--prompt", "make it red", "--frames", "20", "--refine")
    assert named.fields == {"prompt": "make it red", "seed": 4, "num_frames": 20, "refine": True}
    assert named.clip == Path("mine.mp4")


def test_a_control_has_the_clip_of_the_preset_whose_parts_are_shared(tmp_path: Path) -> None:
    write_fake_preset(tmp_path, "base")
    (tmp_path / "base" / "example.mp4").touch()
    folder = preset(tmp_path, control=["canny"], shares="base")
    assert wanted(folder).clip is None
    asked = wanted(folder, "--control", "canny")
    assert (asked.clip, asked.control) == (tmp_path / "base" / "example.mp4", "canny")
    assert asked.fields["num_frames"] == 48


def test_without_a_clip_one_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="fake brings no example clip") as caught:
        wanted(preset(tmp_path, control=["canny"]), "--control", "canny")
    assert caught.value.fix == "pass one with --video FILE"


def test_a_video_without_control_is_continued_by_a_model_that_continues(tmp_path: Path) -> None:
    asked = wanted(preset(tmp_path), "--video", "mine.mp4")
    assert (asked.clip, asked.control, asked.is_along_clip) == (Path("mine.mp4"), None, False)


@pytest.mark.parametrize(("takes_video", "words"), [("no", []), ("no", ["--video", "a.mp4"]), ("last_frames", [])])
def test_a_model_that_needs_an_image_is_for_another_command(tmp_path: Path, takes_video: str, words: list[str]) -> None:
    folder = preset(tmp_path, accepts_image=True, needs_input=True, video=takes_video)
    with pytest.raises(SetupError, match="fake makes videos from an image, which the demo has not") as caught:
        wanted(folder, *words)
    assert caught.value.fix == "use `longtake up` and `longtake submit --model fake --image FILE`"


def test_a_model_that_needs_an_image_or_a_video_goes_on_from_the_video(tmp_path: Path) -> None:
    folder = preset(tmp_path, accepts_image=True, needs_input=True)
    assert wanted(folder, "--video", "mine.mp4").clip == Path("mine.mp4")
