"""Arguments of `longtake submit` become the body of POST /jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.commands.priorities import PRIORITIES
from cli.commands.submit import REFINE_FIELDS, REQUEST_FIELDS, input_media, request_body
from cli.main import parse_args
from client import Longtake as client_of
from core.service.domain.errors import InvalidField
from core.service.domain.priority import Priority
from core.service.domain.schema import JobRequest, RefineOptions


def test_only_fields_that_were_set_are_sent() -> None:
    args = parse_args(["submit", "a red circle", "--frames", "100", "--seed", "7"])
    assert request_body(args) == {"prompt": "a red circle", "num_frames": 100, "seed": 7}


def test_a_job_may_have_another_priority_and_only_one_that_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(PRIORITIES) == set(Priority)
    for name in PRIORITIES:
        assert request_body(parse_args(["submit", "x", "--priority", name])) == {"prompt": "x", "priority": name}
    with pytest.raises(SystemExit):
        parse_args(["submit", "x", "--priority", "urgent"])
    assert "argument --priority: invalid choice: 'urgent'" in capsys.readouterr().err


def test_without_end_is_a_null_that_is_written_out() -> None:
    assert request_body(parse_args(["submit", "a red circle", "--endless"])) == {
        "prompt": "a red circle",
        "num_frames": None,
    }


def test_the_first_chunk_has_steps_and_guidance_of_its_own() -> None:
    body = request_body(parse_args(["submit", "x", "--first-chunk-steps", "30", "--profile", "reference"]))
    assert body == {"prompt": "x", "profile": "reference", "first_chunk": {"num_inference_steps": 30}}


def test_measuring_is_asked_for_by_a_flag() -> None:
    assert request_body(parse_args(["submit", "x", "--measure"])) == {"prompt": "x", "measure": True}
    assert "measure" not in request_body(parse_args(["submit", "x"]))


def test_refinement_is_asked_for_by_a_flag_or_by_any_of_its_options() -> None:
    assert request_body(parse_args(["submit", "x", "--refine"])) == {"prompt": "x", "refine": True}
    words = "submit x --refine --refine-strength 0.4 --refine-size 128x128 --refine-schedule lockstep"
    options = {"strength": 0.4, "size": "128x128", "schedule": "lockstep"}
    assert request_body(parse_args(words.split()))["refine"] == options
    assert set(REFINE_FIELDS) == set(RefineOptions.model_fields)


@pytest.mark.parametrize(
    ("written", "sent"),
    [("24", 24), ("23.976", 23.976), ("30000/1001", "30000/1001"), ("nan", "nan"), ("fast", "fast")],
)
def test_a_rate_is_sent_as_a_number_or_as_what_was_written(written: str, sent: object) -> None:
    assert request_body(parse_args(["submit", "x", "--fps", written]))["fps"] == sent


def test_metadata_and_events_may_be_repeated() -> None:
    words = "submit x --metadata a=1 --metadata b=c=d --webhook-event job.failed --webhook-event job.succeeded"
    body = request_body(parse_args(words.split()))
    assert body["metadata"] == {"a": "1", "b": "c=d"}
    assert body["webhook_events"] == ["job.failed", "job.succeeded"]


def test_parameters_of_an_engine_are_sent_as_json_or_as_text() -> None:
    words = "submit x --parameter zoom=2 --parameter direction=left"
    assert request_body(parse_args(words.split()))["parameters"] == {"zoom": 2, "direction": "left"}


def test_metadata_without_a_value_is_refused() -> None:
    with pytest.raises(InvalidField, match="has no ="):
        request_body(parse_args(["submit", "x", "--metadata", "a"]))


def test_every_field_of_a_request_but_a_schedule_of_prompts_can_be_given() -> None:
    others = {"metadata", "parameters", "first_chunk", "refine", "measure", "prompts", "image", "video", "control"}
    assert set(JobRequest.model_fields) <= {*REQUEST_FIELDS, *others}


def test_a_size_and_a_control_by_url_are_sent_as_they_are() -> None:
    words = "submit x --size 96x64 --control depth=https://example.com/a.mp4?b=c --control-scale 0.5"
    args = parse_args(words.split())
    assert request_body(args) == {"prompt": "x", "size": "96x64"}
    with client_of("http://127.0.0.1:9") as client:
        assert input_media(client, args) == {
            "control": {"type": "depth", "video": "https://example.com/a.mp4?b=c", "scale": 0.5}
        }
        assert input_media(client, parse_args(["submit", "--image", "upl_" + 20 * "a"])) == {"image": "upl_" + 20 * "a"}
        with pytest.raises(InvalidField, match=r"--control clip\.mp4 has no =") as caught:
            input_media(client, parse_args(["submit", "x", "--control", "clip.mp4"]))
    assert caught.value.fix == "write TYPE=FILE"


def test_a_control_that_is_no_video_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\x89PNG\r\n\x1a\n")
    args = parse_args(["submit", "x", "--control", f"canny={tmp_path / 'a.mp4'}", "--url", "http://127.0.0.1:9"])
    with pytest.raises(InvalidField, match=r"^--control: .* is image/png"):
        args.run(args)


def test_a_strength_of_no_control_is_refused() -> None:
    args = parse_args(["submit", "x", "--control-scale", "0.5"])
    with client_of("http://127.0.0.1:9") as client, pytest.raises(InvalidField, match="without --control") as caught:
        input_media(client, args)
    assert (caught.value.field, caught.value.fix) == ("control-scale", "give --control TYPE=FILE, too")


def test_a_model_without_text_needs_no_prompt() -> None:
    assert request_body(parse_args(["submit", "--model", "svd"])) == {"model": "svd"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.mp4", None, "there is no file"),
        ("clip.mp4", b"not a video at all", "is a text"),
        ("picture.mp4", b"\x89PNG\r\n\x1a\n", "is image/png"),
    ],
)
def test_files_that_are_no_videos_are_refused_before_anything_is_sent(
    tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    args = parse_args(["submit", "x", "--video", str(tmp_path / name), "--url", "http://127.0.0.1:9"])
    with pytest.raises(InvalidField, match=says):
        args.run(args)
