"""Admission: accepted requests get their defaults; refused ones name the error, the field and the fix."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.service.admission.admission import admit, random_seed
from core.service.admission.catalog import Catalog
from core.service.admission.request_body import FIELDS_NOT_BUILT_YET, parse_request
from core.service.domain.errors import (
    FieldNotSupported,
    InvalidField,
    PresetError,
    PromptTooLong,
    RequestError,
    TooFewFrames,
    TooManyFrames,
    UnknownField,
    UnknownModel,
    WebhookUrlRefused,
)
from core.service.domain.ids import new_job_id
from core.service.domain.priority import Priority
from core.service.domain.schema import (
    DEFAULT_WEBHOOK_EVENTS,
    MAX_SEED,
    FirstChunkSampling,
    JobRequest,
    JobSpec,
    WarningCode,
)
from core.service.settings import Settings
from tests.helpers.admission import PROMPT, admitted, asking, no_media, refusal, spec_of
from tests.helpers.presets import MAX_PROMPT_TOKENS, change_preset, copy_sprites, write_fake_preset


def test_a_prompt_alone_gets_the_presets_defaults_and_a_new_seed(settings: Settings) -> None:
    assert spec_of(settings) == JobSpec(
        prompt=PROMPT,
        negative_prompt="",
        num_frames=settings.default_num_frames,
        fps=8,
        seed=42,
        model="fake",
        guidance_scale=1.0,
        num_inference_steps=4,
        profile="fast",
        first_chunk=FirstChunkSampling(num_inference_steps=4, guidance_scale=1.0),
        webhook_url=None,
        webhook_events=DEFAULT_WEBHOOK_EVENTS,
        metadata={},
    )


DISTILLED = {"num_inference_steps": 4, "guidance_scale": 1.0, "distilled": True}
PLAIN = {"num_inference_steps": 8, "guidance_scale": 2.0}


@pytest.mark.parametrize(
    ("fields", "about"),
    [
        ({}, []),
        ({"guidance_scale": 1.0, "num_inference_steps": 4}, []),
        ({"guidance_scale": 2.0, "num_inference_steps": 8}, ["guidance_scale", "num_inference_steps"]),
        ({"first_chunk": {"guidance_scale": 3.0}}, ["first_chunk.guidance_scale"]),
        ({"first_chunk": {"num_inference_steps": 16}}, ["first_chunk.num_inference_steps"]),
        ({"guidance_scale": 3.0, "num_inference_steps": 9, "profile": "reference"}, []),
    ],
)
def test_guidance_or_other_steps_for_distilled_weights_are_warned_about(
    settings: Settings, fields: dict[str, Any], about: list[str]
) -> None:
    copy_sprites(settings.presets_dir)
    profiles = {
        "fast": {"windows": DISTILLED, "first_chunk": DISTILLED, "gpu_dtype": "bfloat16"},
        "reference": {"windows": PLAIN, "first_chunk": PLAIN, "gpu_dtype": "float32"},
    }
    change_preset(settings.presets_dir / "sprites", profiles=profiles)
    found = [
        warning
        for warning in admitted(settings, model="sprites", **fields).warnings
        if warning.code == WarningCode.DISTILLED_PROFILE
    ]
    assert [warning.field for warning in found] == about
    assert all("fast" in warning.message for warning in found)
    spec = spec_of(settings, model="sprites", **fields)
    assert spec.guidance_scale == fields.get("guidance_scale", 1.0)


def test_distilled_first_chunks_say_nothing_about_windows(settings: Settings) -> None:
    copy_sprites(settings.presets_dir)
    profile = {"windows": PLAIN, "first_chunk": DISTILLED, "gpu_dtype": "bfloat16"}
    change_preset(settings.presets_dir / "sprites", profiles={"fast": profile})
    asked = {"guidance_scale": 5.0, "first_chunk": {"guidance_scale": 5.0}}
    warnings = admitted(settings, model="sprites", **asked).warnings
    found = [(warning.field, warning.message) for warning in warnings if warning.code == WarningCode.DISTILLED_PROFILE]
    assert found == [
        (
            "first_chunk.guidance_scale",
            "guidance is already in the weights of profile fast of sprites; this adds to it",
        )
    ]


def test_every_field_of_the_request_is_kept(settings: Settings) -> None:
    given: dict[str, Any] = {
        "negative_prompt": "blurry",
        "num_frames": 17,
        "fps": 12,
        "seed": 0,
        "model": "fake",
        "guidance_scale": 9.5,
        "num_inference_steps": 2,
        "webhook_url": "https://example.com/hook",
        "webhook_events": ("chunk.completed", "job.failed"),
        "metadata": {"project": "titles"},
    }
    events = ["chunk.completed", "job.failed", "chunk.completed"]
    spec = spec_of(settings, **{**given, "webhook_events": events})
    assert spec.model_dump(include=set(given)) == given


def test_text_is_stripped_and_may_have_several_lines(settings: Settings) -> None:
    assert spec_of(settings, prompt=" a red\ncircle \n").prompt == "a red\ncircle"
    assert spec_of(settings, prompt="a red\n\t circle").prompt == "a red circle", "runs of white space are one space"


@pytest.mark.parametrize(("seconds", "fps", "num_frames"), [(2, 8, 16), (2.06, 8, 16), (12.5, 8, 100), (1, 24, 24)])
def test_seconds_become_frames_at_the_rate_of_playback(
    settings: Settings, seconds: float, fps: int, num_frames: int
) -> None:
    assert spec_of(settings, seconds=seconds, fps=fps).num_frames == num_frames


def warnings_of(settings: Settings, **fields: Any) -> list[tuple[str, str | None]]:
    return [(warning.code, warning.field) for warning in admitted(settings, **fields).warnings]


@pytest.mark.parametrize(
    ("fps", "shown", "warnings"),
    [
        (24, 24, []),
        (24.0, 24, []),
        (12.5, "25/2", []),
        ("30000/1001", "30000/1001", []),
        (23.976, "24000/1001", [("frame_rate_snapped", "fps")]),
        (29.97, "30000/1001", [("frame_rate_snapped", "fps")]),
        (59.94, "60000/1001", [("frame_rate_snapped", "fps")]),
    ],
)
def test_rates_are_kept_exactly_and_a_snapped_one_is_warned_of(
    settings: Settings, fps: float | str, shown: int | str, warnings: list[tuple[str, str]]
) -> None:
    assert spec_of(settings, fps=fps).model_dump(mode="json")["fps"] == shown
    assert warnings_of(settings, fps=fps) == warnings


@pytest.mark.parametrize(
    ("fields", "num_frames", "says"),
    [
        ({"seconds": 2.5}, 20, None),
        ({"seconds": 2.06}, 16, "2.06 s is no whole number of frames; the video has 16 frames, 2 s at 8 fps"),
        ({"seconds": 1.001, "fps": "24000/1001"}, 24, None),
        ({"seconds": 4, "fps": 23.976}, 96, "4 s is no whole number of frames; the video has 96 frames, 4.004 s"),
    ],
)
def test_seconds_that_are_no_whole_number_of_frames_are_warned_of(
    settings: Settings, fields: dict[str, Any], num_frames: int, says: str | None
) -> None:
    found = admitted(settings, **fields)
    told = [warning.message for warning in found.warnings if warning.code == WarningCode.SECONDS_ROUNDED]
    assert found.spec.num_frames == num_frames
    assert len(told) == (says is not None)
    assert all(message.startswith(says or "") for message in told)


def test_a_default_length_that_the_model_cannot_make_is_shortened_with_a_warning(settings: Settings) -> None:
    change_preset(settings.presets_dir / "fake", limits={"max_frames": 32})
    assert warnings_of(settings) == [("length_shortened", "num_frames")]
    assert warnings_of(settings, num_frames=32) == []


def test_a_presets_own_negative_prompt_is_no_matter_of_the_client(tmp_path: Path) -> None:
    copy_sprites(tmp_path)
    change_preset(tmp_path / "sprites", negative_prompt="ugly [blurry]")
    settings = Settings(presets_dir=tmp_path)
    assert warnings_of(settings) == []
    assert warnings_of(settings, negative_prompt="ugly") == [("unknown_words", "negative_prompt")]


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\x9b", "\u202e", "\u202a", "\u2066", "\u2069"])
@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "metadata.k", "model", "image", "video", "webhook_url"])
def test_control_and_bidirectional_characters_are_refused_in_every_text(
    settings: Settings, field: str, char: str
) -> None:
    refused = refusal(settings, **asking(field, f"a{char}b"))
    assert (type(refused), refused.field) == (InvalidField, field)
    assert refused.message.startswith((f"{field} has control characters (U+", f"{field} has bidirectional formatting"))


def test_a_metadata_key_with_such_characters_is_named_readably(settings: Settings) -> None:
    refused = refusal(settings, metadata={"a\x00\u202eb": "v"})
    assert refused.field == "metadata.a\\x00\\u202eb"
    assert refused.message.startswith("metadata.a\\x00\\u202eb has control characters (U+0000 at character 2)")


@pytest.mark.parametrize("metadata", [{"a\ud800": "v"}, {"k": "\udfff"}])
def test_lone_surrogates_in_metadata_are_refused(settings: Settings, metadata: dict[str, str]) -> None:
    refused = refusal(settings, metadata=metadata)
    assert "not valid Unicode" in refused.message
    assert str(refused.field).startswith("metadata")
    assert str(refused.field).encode()


def test_metadata_of_any_script_come_back_as_they_were_sent(settings: Settings) -> None:
    metadata = {"نام": "\u0645\u06cc\u200c\u062e", "title": "👩\u200d🚀 e\u0301\n\u05d0\u200f"}
    assert spec_of(settings, metadata=metadata).metadata == metadata


@pytest.mark.parametrize(
    ("fields", "error", "field", "says"),
    [
        ({"prompt": ""}, InvalidField, "prompt", "empty"),
        ({"prompt": " \n "}, InvalidField, "prompt", "empty"),
        ({"prompt": "\u200b\u2060"}, InvalidField, "prompt", "no visible text"),
        ({"prompt": None}, InvalidField, "prompt", "is missing"),
        ({"prompt": ["a"]}, InvalidField, "prompt", "not a string"),
        ({"prompt": "a\ud800"}, InvalidField, "prompt", "not valid Unicode"),
        ({"prompt": "a\x00b"}, InvalidField, "prompt", "control characters"),
        ({"prompt": "a\x1b[31m"}, InvalidField, "prompt", "control characters"),
        ({"prompt": "a " * 2001}, PromptTooLong, "prompt", "more than 4000 characters"),
        ({"prompt": "a " * 17}, PromptTooLong, "prompt", "17 tokens; this model reads 16"),
        ({"negative_prompt": "a " * 17}, PromptTooLong, "negative_prompt", "17 tokens"),
        ({"negative_prompt": "a\x07"}, InvalidField, "negative_prompt", "control characters"),
        ({"num_frames": 15}, TooFewFrames, "num_frames", "at least 16"),
        ({"num_frames": -1}, TooFewFrames, "num_frames", "at least 16"),
        ({"num_frames": 801}, TooManyFrames, "num_frames", "more than the 800"),
        ({"num_frames": "48"}, InvalidField, "num_frames", "not a whole number"),
        ({"num_frames": True}, InvalidField, "num_frames", "not a whole number"),
        ({"num_frames": 48.5}, InvalidField, "num_frames", "not a whole number"),
        ({"num_frames": 48, "seconds": 6}, InvalidField, "seconds", "both"),
        ({"seconds": 1.9}, TooFewFrames, "seconds", "asks for 15 frames"),
        ({"seconds": 2, "fps": 4}, TooFewFrames, "seconds", "asks for 8 frames"),
        ({"seconds": 101}, TooManyFrames, "seconds", "more than the 800"),
        ({"seconds": 1e308, "fps": 60}, TooManyFrames, "seconds", "more than the 800"),
        ({"seconds": 0}, InvalidField, "seconds", "not above 0"),
        ({"seconds": math.nan}, InvalidField, "seconds", "not a finite number"),
        ({"seconds": math.inf}, InvalidField, "seconds", "not a finite number"),
        ({"seconds": "6"}, InvalidField, "seconds", "not a number"),
        ({"seconds": True}, InvalidField, "seconds", "not a number"),
        ({"fps": 0}, InvalidField, "fps", "below 1"),
        ({"fps": 61}, InvalidField, "fps", "above 60"),
        ({"fps": 60.001}, InvalidField, "fps", "above 60"),
        ({"fps": "0/1"}, InvalidField, "fps", "below 1"),
        ({"fps": "61/1"}, InvalidField, "fps", "above 60"),
        ({"fps": "24"}, InvalidField, "fps", "neither a number nor a fraction"),
        ({"fps": "30000/0"}, InvalidField, "fps", "neither a number nor a fraction"),
        ({"fps": "30000 / 1001"}, InvalidField, "fps", "neither a number nor a fraction"),
        ({"fps": True}, InvalidField, "fps", "neither a number nor a fraction"),
        ({"fps": math.nan}, InvalidField, "fps", "neither a number nor a fraction"),
        ({"fps": "200001/20000"}, InvalidField, "fps", "denominator above 10000"),
        ({"fps": 12.34567}, InvalidField, "fps", "denominator above 10000"),
        ({"seed": -1}, InvalidField, "seed", "below 0"),
        ({"seed": MAX_SEED + 1}, InvalidField, "seed", "above"),
        ({"guidance_scale": 0.5}, InvalidField, "guidance_scale", "below 1"),
        ({"guidance_scale": 31}, InvalidField, "guidance_scale", "above 30"),
        ({"num_inference_steps": 0}, InvalidField, "num_inference_steps", "below 1"),
        ({"num_inference_steps": 1001}, InvalidField, "num_inference_steps", "above 1000"),
        ({"model": "huge"}, UnknownModel, "model", "no model named 'huge'"),
        ({"model": 3}, InvalidField, "model", "not a string"),
        ({"webhook_url": "http://10.0.0.1:x/"}, WebhookUrlRefused, "webhook_url", "port"),
        ({"webhook_url": "https://a.test/" + "a" * 2000}, InvalidField, "webhook_url", "more than 2000 characters"),
        ({"webhook_events": ["job.failed"]}, InvalidField, "webhook_events", "without webhook_url"),
        ({"webhook_url": "https://a.test", "webhook_events": []}, InvalidField, "webhook_events", "empty"),
        ({"webhook_url": "https://a.test", "webhook_events": ["x"]}, InvalidField, "webhook_events[0]", "is not"),
        ({"webhook_url": "https://a.test", "webhook_events": "job.failed"}, InvalidField, "webhook_events", "list"),
        ({"metadata": {"": "x"}}, InvalidField, "metadata.", "empty"),
        ({"metadata": {"k": 1}}, InvalidField, "metadata.k", "not a string"),
        ({"metadata": {"k": "v" * 513}}, InvalidField, "metadata.k", "more than 512 characters"),
        ({"metadata": {"k" * 65: "v"}}, InvalidField, f"metadata.{'k' * 63}…", "more than 64 characters"),
        ({"metadata": {str(n): "" for n in range(17)}}, InvalidField, "metadata", "more than 16 entries"),
        ({"metadata": ["a"]}, InvalidField, "metadata", "not an object"),
    ],
)
def test_what_is_refused_is_named(
    settings: Settings, fields: Mapping[str, Any], error: type[RequestError], field: str, says: str
) -> None:
    refused = refusal(settings, **fields)
    assert (type(refused), refused.field) == (error, field)
    assert says in refused.message


def test_bounds_are_written_as_in_ordinary_text(settings: Settings) -> None:
    assert refusal(settings, guidance_scale=0.5).fix == "give at least 1"
    assert refusal(settings, num_inference_steps=1001).fix == "give at most 1000"


def test_a_seed_that_javascript_would_round_is_refused_with_the_reason(settings: Settings) -> None:
    assert spec_of(settings, seed=9_007_199_254_740_991).seed == 2**53 - 1
    refused = refusal(settings, seed=2**53)
    assert (type(refused), refused.field) == (InvalidField, "seed")
    assert refused.message == "seed is above 9007199254740991"
    assert refused.fix == "give at most 9007199254740991: JavaScript and other JSON clients round larger integers"


@pytest.mark.parametrize("body", [None, [], "a prompt", 3])
def test_a_body_that_is_not_an_object_is_refused(body: object) -> None:
    with pytest.raises(InvalidField, match="not a JSON object"):
        parse_request(body)


def test_a_profile_that_the_preset_lacks_is_refused(settings: Settings) -> None:
    refused = refusal(settings, profile="reference")
    assert isinstance(refused, FieldNotSupported)
    assert (refused.field, refused.fix) == ("profile", "use fast")


def test_the_first_chunk_takes_the_profiles_sampling_where_it_names_none(settings: Settings) -> None:
    spec = spec_of(settings, first_chunk={"guidance_scale": 9.0})
    assert spec.first_chunk == FirstChunkSampling(num_inference_steps=4, guidance_scale=9.0)


def test_a_missing_prompt_is_named(settings: Settings) -> None:
    refused = refusal(settings, prompt=None)
    assert (type(refused), refused.field, refused.message) == (InvalidField, "prompt", "prompt is missing")


@pytest.mark.parametrize(("name", "fix"), [("promt", "did you mean prompt?"), ("zzz", "leave it out; the fields are")])
def test_unknown_fields_name_what_was_probably_meant(settings: Settings, name: str, fix: str) -> None:
    refused = refusal(settings, **{name: 1})
    assert isinstance(refused, UnknownField)
    assert str(refused.fix).startswith(fix)


def test_a_job_has_the_priority_that_was_asked_for_or_a_normal_one(settings: Settings) -> None:
    asked = [spec_of(settings, priority=name).priority for name in ("low", "normal", "high")]
    assert asked == [Priority.LOW, Priority.NORMAL, Priority.HIGH]
    assert spec_of(settings).priority is Priority.NORMAL


@pytest.mark.parametrize("value", ["urgent", "High", "", 1, None, True, ["low"], {"low": 1}])
def test_a_priority_that_there_is_not_is_refused_with_those_that_there_are(settings: Settings, value: object) -> None:
    refused = refusal(settings, priority=value)
    assert (type(refused), refused.field) == (InvalidField, "priority")
    assert refused.message == "priority is not 'high', 'normal' or 'low'"
    assert refused.fix == "use 'high', 'normal' or 'low'"


@pytest.mark.parametrize("name", sorted(FIELDS_NOT_BUILT_YET))
def test_fields_of_later_versions_are_refused_as_not_built_yet(settings: Settings, name: str) -> None:
    refused = refusal(settings, **{name: None})
    assert isinstance(refused, FieldNotSupported)
    assert "not built yet" in refused.message


def test_fields_not_built_yet_are_none_that_are_built() -> None:
    assert not FIELDS_NOT_BUILT_YET & set(JobRequest.model_fields)


def test_all_errors_of_a_body_are_listed_at_once() -> None:
    with pytest.raises(RequestError) as caught:
        parse_request({"promt": "x", "fps": 0, "seed": "7"})
    found = [caught.value, *caught.value.also]
    assert [error.field for error in found] == ["promt", "prompt", "fps", "seed"]


def test_a_field_name_with_a_lone_surrogate_can_be_repeated_to_the_client() -> None:
    with pytest.raises(UnknownField) as caught:
        parse_request({"prompt": "x", "\ud800": 1})
    assert caught.value.message.encode()


def test_the_token_limit_itself_is_allowed(settings: Settings) -> None:
    assert spec_of(settings, prompt="a " * MAX_PROMPT_TOKENS).prompt.count("a") == MAX_PROMPT_TOKENS


def test_private_webhooks_are_refused_unless_the_operator_allows_them(settings: Settings) -> None:
    request = parse_request({"prompt": PROMPT, "webhook_url": "http://127.0.0.1:9/"})
    catalog = Catalog(settings)
    with pytest.raises(WebhookUrlRefused):
        admit(request, catalog, settings, random_seed, no_media)
    allowing = settings.model_copy(update={"webhook_allow_private_addresses": True})
    assert admit(request, catalog, allowing, random_seed, no_media).spec.webhook_url == "http://127.0.0.1:9/"


def test_a_broken_preset_is_not_the_clients_fault(settings: Settings) -> None:
    (settings.presets_dir / "fake" / "preset.json").write_text("{}")
    with pytest.raises(PresetError):
        spec_of(settings)


def test_ids_are_long_random_and_fit_for_urls_and_keys() -> None:
    ids = {new_job_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"job_[a-z2-7]{20}", job_id) for job_id in ids)


def test_random_seeds_are_valid_and_differ() -> None:
    seeds = {random_seed() for _ in range(10)}
    assert len(seeds) > 1
    assert all(0 <= seed <= MAX_SEED for seed in seeds)


def test_a_refined_prompt_must_leave_room_for_what_the_refiner_appends(tmp_path: Path) -> None:
    folder = write_fake_preset(tmp_path, "fake", refiner=True)
    refiner = json.loads((folder / "preset.json").read_text())["refiner"]
    change_preset(folder, refiner={**refiner, "prompt_suffix": ", "})
    settings, longest = Settings(presets_dir=tmp_path, default_model="fake"), "a" + " a" * (MAX_PROMPT_TOKENS - 1)

    assert spec_of(settings, prompt=longest).refine is None
    assert spec_of(settings, prompt=longest[2:], refine=True).prompt == longest[2:]
    refused = refusal(settings, prompt=longest, refine=True)
    assert isinstance(refused, PromptTooLong)
    assert (refused.field, refused.fix) == ("prompt", "shorten it to at most 15 tokens, or leave `refine` out")


def test_of_thousands_of_errors_in_a_field_only_some_are_made() -> None:
    with pytest.raises(RequestError) as caught:
        parse_request({"prompt": PROMPT, "first_chunk": {f"field_{number}": 0 for number in range(3000)}})
    assert len(caught.value.also) == 49
