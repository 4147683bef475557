"""Recipes: a wrong entry is refused by its name."""

import pytest

from core.model.training.recipe import RecipeError, parse_recipe
from core.model.training.stages.memory import Dropouts

PRESET = {"source": "preset", "preset": "modelscope"}
NETWORKS = {"source": "sprites"}
CLIPS = {"source": "clips", "folder": "x", "height": 64, "width": 64, "fps": 8, "frames_per_clip": 32}
SPRITES = {"source": "sprites", "clips": 4, "pictures": 4, "two_sprites_share": 0.5, "refiner_clips": 4}
IMAGE = {"source": "image", "preset": "sprites"}
PICTURES = {"source": "pictures", "pictures": 4, "two_sprites_share": 0.5}
STAGE = {"batch": 1, "steps": 1, "learning_rate": 1e-4}
FEW = {"steps": 4, "teacher_steps": 8}
GUIDANCE = {"window_guidance": {**STAGE, "rank": 4}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networks": IMAGE}, '"image" cannot train on data of source "clips"'),
        ({"networks": IMAGE, "data": PICTURES}, "stages must be exactly image2d, controlnet, editor; found cam"),
        ({"networks": IMAGE, "data": {**PICTURES, "pictures": 1}}, r"\[data\] pictures: Input should be greater than"),
        ({"data": SPRITES}, '"preset" cannot train on data of source "sprites"'),
        ({"data": {**CLIPS, "height": 65}}, r"\[data\] height: Input should be a multiple of 8"),
        ({"networks": {**PRESET, "memory": "old"}}, r"\[networks\] memory: Input should be 'new' or 'pretrained'"),
        (
            {"stages": {"vae": STAGE}},
            "stages on clips are cam, apm, window_guidance, window_steps, .* and first_chunk_steps; found vae",
        ),
        (
            {"stages": {"cam": {**STAGE, "steps": 0}}},
            r"\[stages.cam\] steps: Input should be greater than or equal to 1",
        ),
        ({"stages": {"cam": {**STAGE, "rank": 4}}}, r"\[stages.cam\] rank: .* other stages have none"),
        ({"stages": {"window_guidance": STAGE}}, r"\[stages.window_guidance\] rank: window_guidance, .* need it"),
        ({"stages": {"cam": {**STAGE, "few_steps": FEW}}}, r"\[stages.cam\] few_steps: .* others have none"),
        ({"stages": {**GUIDANCE, "window_steps": {**STAGE, "rank": 4}}}, r"\[stages.window_steps\] few_steps: .* need"),
        (
            {"stages": {**GUIDANCE, "window_steps": {**STAGE, "rank": 2, "few_steps": FEW}}},
            r"\[stages.window_steps\] rank: window_guidance, which it continues, has 4",
        ),
        (
            {"stages": {"window_steps": {**STAGE, "rank": 2, "few_steps": FEW}}},
            r"\[stages.window_steps\] continues window_guidance, which the recipe lacks",
        ),
        (
            {"stages": {**GUIDANCE, "window_steps": {**STAGE, "rank": 4, "few_steps": {**FEW, "teacher_steps": 6}}}},
            r"few_steps: the timesteps of 4 steps are not among those of 6; use a multiple",
        ),
        (
            {"stages": {**GUIDANCE, "window_steps": {**STAGE, "rank": 4, "few_steps": {**FEW, "teacher": "x"}}}},
            r"\[stages.window_steps.few_steps\] teacher: Input should be 'guided' or 'distilled'",
        ),
        ({"stages": {"cam": {**STAGE, "mixed_precision": "fp8"}}}, r"\[stages.cam\] mixed_precision: Input should be"),
        ({"networks": NETWORKS, "data": {**SPRITES, "clips": 1}}, r"\[data\] clips: Input should be greater than"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        (
            {"data": {**CLIPS, "frames_per_clip": 31}},
            r"\[data\] frames_per_clip: Input should be greater than or equal",
        ),
        *(
            ({"stages": {"cam": {**STAGE, entry: -1}}}, rf"\[stages.cam\] {entry}: Input should be greater than")
            for entry in ("warmup_steps", "final_rate", "weight_decay", "clip_norm", "save_every_seconds")
        ),
        (
            {"networks": {**NETWORKS, "vae_channels": [8, 8]}},
            r"\[networks\] vae_channels: Tuple should have at least 4",
        ),
        ({"networks": {**NETWORKS, "unet_channels": [8, 8, 8, 12]}}, r"unet_channels\] 3: .*multiple of 8"),
        ({"stages": {"cam": {**STAGE, "dropouts": {"text": 1}}}}, r"\[stages.cam.dropouts\] text: Unexpected"),
        (
            {"stages": {"cam": {**STAGE, "dropouts": {"generated_past": 0.3}}}},
            r"\[stages.cam.dropouts\] generated_past: only cam and apm of sprites have it",
        ),
        (
            {"stages": {"window_guidance": {**STAGE, "rank": 4, "dropouts": {"generated_past": 0.3}}}},
            r"\[stages.window_guidance.dropouts\] generated_past: only cam and apm",
        ),
        (
            {"stages": {"cam": {**STAGE, "dropouts": {"caption": 5}}}},
            r"\[stages.cam.dropouts\] caption: Input should be less than or equal to 1",
        ),
        (
            {"stages": {"cam": {**STAGE, "dropouts": {"history_noise": -1}}}},
            r"\[stages.cam.dropouts\] history_noise: Input should be greater",
        ),
    ],
)
def test_an_unusable_recipe_is_refused_with_the_entry(changes: dict[str, object], message: str) -> None:
    content = {"name": "mine", "seed": 1, "networks": PRESET, "data": CLIPS, "stages": {"cam": STAGE}}
    with pytest.raises(RecipeError, match=message):
        parse_recipe(content | changes)


def test_dropouts_default_to_0() -> None:
    stages = {"cam": {**STAGE, "dropouts": {"caption": 0.05}}}
    recipe = parse_recipe({"name": "mine", "seed": 1, "networks": PRESET, "data": CLIPS, "stages": stages})
    assert recipe.stages["cam"].dropouts == Dropouts(caption=0.05, anchor=0.0, history_noise=0.0)
