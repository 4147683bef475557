"""The loop that all stages share: what it tells, what samples may see, what a step is made of, and going on later."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from core.model.training import samples
from core.model.training.command import check_precision, main
from core.model.training.loop import OtherRun, Plan, train
from core.model.training.memory_stage import Dropouts
from core.model.training.recipe import RecipeError, load_recipe, parse_recipe
from core.service.domain.errors import SetupError
from core.service.video.decode import decode_frames

PLAN = Plan(steps=4, learning_rate=1e-2, final_rate=1.0, warmup_steps=0, mixed_precision="no", log_every_steps=1)


class Line:
    """Fits y = 2x; a batch is one number made of its own. Remembers which batches it was asked for."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.layer = nn.Linear(1, 1)
        self.modules = {"line": self.layer}
        self.asked: list[int] = []

    def loss(self, step: int) -> Tensor:
        self.asked.append(step)
        x = torch.rand((4, 1), generator=torch.Generator().manual_seed(step))
        return ((self.layer(x) - 2 * x) ** 2).mean()


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_an_interrupted_run_resumes_to_the_same_losses(tmp_path: Path) -> None:
    train(Line(), PLAN, tmp_path / "whole")
    train(Line(), replace(PLAN, steps=2), tmp_path / "parts")
    train(Line(), PLAN, tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == 4


@pytest.mark.parametrize(
    ("plan", "seed", "said"),
    [(PLAN, 2, "with seed 1, now it is 2: set seed back to 1"), (replace(PLAN, accumulate=2), 1, "with accumulate 1")],
)
def test_a_checkpoint_is_not_gone_on_from_with_other_data(tmp_path: Path, plan: Plan, seed: int, said: str) -> None:
    train(Line(), replace(PLAN, steps=2), tmp_path, origin={"seed": 1})
    with pytest.raises(OtherRun, match=said):
        train(Line(), plan, tmp_path, origin={"seed": seed})


def test_a_checkpoint_that_does_not_say_what_it_was_made_with_is_gone_on_from(tmp_path: Path) -> None:
    train(Line(), replace(PLAN, steps=2), tmp_path)
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    torch.save({key: value for key, value in content.items() if key != "origin"}, tmp_path / "last.pt")
    assert train(Line(), PLAN, tmp_path, origin={"seed": 2}) == 4


def test_a_finished_stage_may_be_asked_for_again_with_other_data(tmp_path: Path) -> None:
    train(Line(), PLAN, tmp_path, origin={"batch": 1})
    assert train(Line(), PLAN, tmp_path, origin={"batch": 2}) == 4


def test_weights_of_another_size_are_refused_by_name(tmp_path: Path) -> None:
    train(Line(), PLAN, tmp_path)
    wider = Line()
    wider.layer = nn.Linear(1, 2)
    wider.modules = {"line": wider.layer}
    with pytest.raises(OtherRun, match=r"of other sizes \(line: size mismatch for weight"):
        train(wider, replace(PLAN, steps=9), tmp_path)


def test_what_a_killed_run_noted_after_its_checkpoint_is_struck_out(tmp_path: Path) -> None:
    train(Line(), replace(PLAN, steps=2), tmp_path)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 3, "seconds": 9.0, "loss": 9.0}\n')
    train(Line(), PLAN, tmp_path)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_a_step_of_several_batches_takes_the_next_ones(tmp_path: Path) -> None:
    task = Line()
    train(task, replace(PLAN, steps=2, accumulate=3), tmp_path)
    assert task.asked == [0, 1, 2, 3, 4, 5]


def test_tensorboard_shows_loss_rate_and_speed(tmp_path: Path) -> None:
    train(Line(), PLAN, tmp_path)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["scalars"] == ["loss", "learning_rate", "steps_per_second"]
    assert [event.value for event in events.Scalars("learning_rate")] == pytest.approx([1e-2] * 4)


def test_training_without_tensorboard_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard.writer", raising=False)
    with pytest.raises(SetupError, match="tensorboard"):
        train(Line(), PLAN, tmp_path)


def test_sampling_changes_nothing(tmp_path: Path) -> None:
    quiet, shown = Line(), Line()
    train(quiet, PLAN, tmp_path / "quiet")
    seen: list[int] = []

    def sample(step: int) -> None:
        seen.append(step)
        torch.rand(3)

    before = torch.random.get_rng_state()
    train(shown, replace(PLAN, sample_every_seconds=0), tmp_path / "shown", sample)
    assert seen == [1, 2, 3, 4, 4]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert losses(tmp_path / "quiet") == losses(tmp_path / "shown")


def test_samples_are_made_with_averaged_weights(tmp_path: Path) -> None:
    task = Line()
    seen: list[Tensor] = []
    train(task, PLAN, tmp_path, lambda _step: seen.append(task.layer.weight.clone()))
    assert torch.equal(seen[-1], task.layer.weight)  # the average is what a finished stage leaves
    last = torch.load(tmp_path / "last.pt", weights_only=True)["modules"]["line"]["weight"]
    assert not torch.equal(last, task.layer.weight)


def test_samples_are_kept_as_a_sheet_and_a_video(tmp_path: Path) -> None:
    rows = [
        samples.Row("long", np.zeros((20, 32, 32, 3), np.uint8)),
        samples.Row("large", np.ones((4, 48, 48, 3), np.uint8)),
    ]
    samples.keeping(tmp_path, 8, lambda: rows)(7)
    assert decode_frames(tmp_path / "samples/00000007.mp4").shape == (20, 48, 80, 3)
    assert (tmp_path / "samples/00000007.png").is_file()


def test_half_precision_without_a_gpu_is_refused() -> None:
    recipe = load_recipe("sprites")
    plan = replace(recipe.stages["vae"].plan, mixed_precision="fp16")
    stages = recipe.stages | {"vae": replace(recipe.stages["vae"], plan=plan)}
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RecipeError, match=r'\[stages.vae\] mixed_precision: "fp16" needs a GPU'):
        check_precision(replace(recipe, stages=stages), processes=1)


PRESET = {"source": "preset", "preset": "modelscope"}
NETWORKS = {"source": "sprites"}
CLIPS = {"source": "clips", "folder": "x", "height": 64, "width": 64, "fps": 8, "frames_per_clip": 32}
SPRITES = {"source": "sprites", "clips": 4, "pictures": 4, "two_sprites_share": 0.5, "refiner_clips": 4}
STAGE = {"batch": 1, "steps": 1, "learning_rate": 1e-4}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": SPRITES}, '"preset" cannot train on data of source "sprites"'),
        ({"data": {**CLIPS, "height": 65}}, r"\[data\] height: Input should be a multiple of 8"),
        ({"networks": {**PRESET, "memory": "old"}}, r"\[networks\] memory: Input should be 'new' or 'pretrained'"),
        ({"stages": {"vae": STAGE}}, "stages on clips are cam and apm; found vae"),
        (
            {"stages": {"cam": {**STAGE, "steps": 0}}},
            r"\[stages.cam\] steps: Input should be greater than or equal to 1",
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
            {"stages": {"cam": {**STAGE, "dropouts": {"caption": 5}}}},
            r"\[stages.cam.dropouts\] caption: Input should be less than or equal to 1",
        ),
        (
            {"stages": {"cam": {**STAGE, "dropouts": {"history_noise": -1}}}},
            r"\[stages.cam.dropouts\] history_noise: Input should be greater",
        ),
    ],
)
def test_a_recipe_that_cannot_be_used_names_the_entry(changes: dict[str, object], said: str) -> None:
    content = {"name": "mine", "seed": 1, "networks": PRESET, "data": CLIPS, "stages": {"cam": STAGE}}
    with pytest.raises(RecipeError, match=said):
        parse_recipe(content | changes)


def test_dropouts_that_a_recipe_does_not_name_are_off() -> None:
    stages = {"cam": {**STAGE, "dropouts": {"caption": 0.05}}}
    recipe = parse_recipe({"name": "mine", "seed": 1, "networks": PRESET, "data": CLIPS, "stages": stages})
    assert recipe.stages["cam"].dropouts == Dropouts(caption=0.05, anchor=0.0, history_noise=0.0)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--minutes", "0"], "--minutes: must be a number above 0, not '0'"),
        (["--minutes", "-3"], "--minutes: must be a number above 0, not '-3'"),
        (["--steps", "abc"], "--steps: must be an integer of at least 1, not 'abc'"),
        (["--threads", "2", "--processes", "2"], "--threads is for a single process"),
    ],
)
def test_an_argument_that_cannot_be_followed_is_refused(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["sprites", *argv])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["streaming-t2v", "--stage", "vae"], "recipe 'streaming-t2v' has cam, apm"),
        (["sprites", "--clips", "x"], "trains on its own world"),
        (["streaming-t2v", "--clips", "nowhere"], "nowhere/captions.jsonl is missing"),
        (["sprites", "--stage", "apm", "--out", "nowhere"], "nowhere/clip/last.pt is missing: train the stage 'clip'"),
    ],
)
@pytest.mark.parametrize("processes", ["1", "2"])
def test_what_cannot_be_trained_is_refused_before_any_process_starts(
    argv: list[str], said: str, processes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--processes", processes]) == 2
    assert said in capsys.readouterr().err
