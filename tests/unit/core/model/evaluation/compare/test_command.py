"""The command: arguments, prompts, methods that cannot be compared, reports of what is finished. Methods are fakes."""

import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.folder_lock import alone_in
from core.model.evaluation.compare import command
from core.model.evaluation.compare.measurement import MeasurementOptions
from core.model.evaluation.compare.prompts import NUM_PROMPTS, default_prompts
from core.model.evaluation.compare.write import FILES
from core.model.evaluation.generation.sprites_requests import suite_scenes
from core.model.evaluation.methods.method import Method
from core.model.evaluation.methods.registry import MethodOptions
from core.model.training.sprites import captions
from core.service.admission.catalog import Catalog
from core.service.domain.errors import PresetError
from core.service.settings import Settings
from tests.helpers.compared_methods import BROKEN, FakeMeasurement, calls, load_fake

DOCS = Path(__file__).resolve().parents[6] / "docs"


@pytest.fixture(scope="module", autouse=True)
def _libraries_are_no_garbage() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest calls it
    """Garbage is collected after each method that is chosen: a third of a second for all that libraries keep."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def loaded() -> list[tuple[str, MethodOptions]]:
    """Methods that were loaded, with their options."""
    return []


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: list[tuple[str, MethodOptions]]) -> Path:
    folder = tmp_path / "out"

    def load(name: str, options: MethodOptions) -> Method:
        assert options.preset == "sprites"
        loaded.append((name, options))
        if name in ("concat", "additive", "last_frame_trial"):
            raise PresetError(f"{name} is not trained", fix="longtake evaluate --suite ablations")
        return load_fake(name, tmp_path / "calls.txt", "1")

    def known(options: MethodOptions) -> list[str]:
        del options
        return ["streaming_t2v", "last_frame", "my-preset", "svd"]

    def measurement(options: MeasurementOptions) -> FakeMeasurement:
        return FakeMeasurement(options.flow)

    monkeypatch.setattr(command, "load_method", load)
    monkeypatch.setattr(command, "method_names", known)
    monkeypatch.setattr(command, "load_measurement", measurement)
    return folder


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.txt"
    file.write_text("a lake\n\na wood\n")
    return file


def run(out: Path, prompts: Path, *more: str) -> int:
    return command.main(["--prompts", str(prompts), "--frames", "32", "--out", str(out), *more])


def test_everything_is_made_and_written(out: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(out, prompts, "--methods", "last_frame", "free_noise") == 0
    assert {call[:2] for call in calls(out.parent)} == {
        ("streaming_t2v", "a lake"), ("streaming_t2v", "a wood"),  # the first chunks
        ("last_frame", "a lake"), ("last_frame", "a wood"), ("free_noise", "a lake"), ("free_noise", "a wood"),
    }  # fmt: skip
    assert all((out / name).is_file() for name in FILES)
    printed = capsys.readouterr().out
    assert "## Table 1" in printed
    assert "2 of prompts.txt" in printed
    assert list(json.loads((out / "compare.json").read_text())["methods"]) == ["last_frame", "free_noise"]


def test_without_names_all_that_can_be_loaded_are_compared_and_the_others_named_with_the_reason(
    out: Path, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(out, prompts) == 0
    content = json.loads((out / "compare.json").read_text())
    assert list(content["methods"]) == ["streaming_t2v", "last_frame", "free_noise"]
    assert content["plan"]["left_out"]["concat"] == "concat is not trained (longtake evaluate --suite ablations)"
    assert set(content["plan"]["left_out"]) == {
        *("streaming_t2v_trial", "cam", "concat", "additive", "last_frame_trial", "text2video_zero")
    }
    assert "Not compared: additive: additive is not trained" in capsys.readouterr().out.replace("\\", "")


def test_a_named_method_that_cannot_be_loaded_is_refused_before_any_work(
    out: Path, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(out, prompts, "--methods", "last_frame", "concat") == 2
    assert "concat is not trained" in capsys.readouterr().err
    assert [file.name for file in out.iterdir()] == [".lock"]


def test_without_a_source_of_first_chunks_nothing_is_begun(
    out: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(name: str, options: MethodOptions) -> Method:
        del options
        if name == "streaming_t2v":
            raise PresetError("it has no base")
        return load_fake(name, out.parent / "calls.txt", "1")

    monkeypatch.setattr(command, "load_method", load)
    assert run(out, prompts, "--methods", "last_frame") == 2
    assert "last_frame begin with first chunks by streaming_t2v, which cannot be loaded" in capsys.readouterr().err
    assert [file.name for file in out.iterdir()] == [".lock"]
    assert run(out, prompts, "--methods", "free_noise") == 0


def test_an_unknown_method_is_refused(out: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(out, prompts, "--methods", "magic") == 2
    assert "magic" in capsys.readouterr().err


def test_an_unknown_preset_is_refused(out: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(out, prompts, "--preset", "no-such-preset") == 2
    err = capsys.readouterr().err
    assert "no-such-preset" in err
    assert "sprites" in err


def test_presets_of_table_1_are_compared_by_default_outside_the_sprites_world(
    out: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def load(name: str, options: MethodOptions) -> Method:
        assert options.preset == "modelscope"
        tried.append(name)
        raise PresetError(f"{name} is not installed")

    monkeypatch.setattr(command, "load_method", load)
    assert run(out, prompts, "--preset", "modelscope") == 2
    assert tried == [*command.PAPERS_METHODS, "svd"]


def test_the_only_trials_in_the_default_place_are_taken(
    out: Path, prompts: Path, loaded: list[tuple[str, MethodOptions]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out.parent)
    trials = Path("out/evaluation/ablations/300-steps-2-processes")
    trials.mkdir(parents=True)
    assert run(out, prompts, "--methods", "last_frame", "--work", "runs/sprites") == 0
    assert {(options.work, options.trials) for _, options in loaded} == {(Path("runs/sprites"), trials)}


def test_of_trials_of_several_budgets_one_must_be_named(
    out: Path,
    prompts: Path,
    loaded: list[tuple[str, MethodOptions]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(out.parent)
    budgets = [Path(f"out/evaluation/ablations/{steps}-steps-2-processes") for steps in (300, 600)]
    for folder in budgets:
        folder.mkdir(parents=True)
    assert run(out, prompts, "--methods", "last_frame", "--work", "runs/sprites") == 2
    err = capsys.readouterr().err
    assert all(str(folder) in err for folder in budgets)
    assert run(out, prompts, "--methods", "last_frame", "--work", "runs/sprites", "--trials", str(budgets[1])) == 0
    assert {options.trials for _, options in loaded} == {budgets[1]}


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("missing.txt", None, "missing.txt"),
        ("empty.txt", "\n\n", "no prompt"),
        ("named.json", '{"a.mp4": "a lake"}', "by name"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused(
    out: Path, tmp_path: Path, name: str, text: str | None, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert run(out, tmp_path / name) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("frames", ["15", "0", "-3", "many"])
def test_lengths_that_cannot_be_made_are_refused(frames: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--frames", frames])
    assert ended.value.code == 2
    assert "must be" in capsys.readouterr().err


def test_a_folder_with_another_comparison_is_kept(out: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(out, prompts, "--methods", "last_frame") == 0
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    for words in (["--frames", "48"], ["--seed", "1"], ["--profile", "reference"]):
        assert run(out, prompts, "--methods", "last_frame", *words) == 2
        assert f"the videos of another comparison, with another {words[0]}" in capsys.readouterr().err
    # Fewer prompts are none of the others: their videos stay those of their prompts.
    prompts.write_text("a lake\n")
    assert run(out, prompts, "--methods", "last_frame") == 0
    before |= {file: file.read_bytes() for file in out.glob("*") if file.is_file()}
    prompts.write_text("a lake\na town\n")
    assert run(out, prompts, "--methods", "last_frame") == 2
    assert "with another --prompts (name another folder with --out" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_more_prompts_and_other_methods_go_on_in_the_same_folder(out: Path, prompts: Path) -> None:
    assert run(out, prompts, "--methods", "last_frame") == 0
    before = calls(out.parent)
    prompts.write_text("a lake\na wood\na town\n")
    assert run(out, prompts, "--methods", "last_frame", "free_noise") == 0
    made = calls(out.parent)[len(before) :]
    assert ("last_frame", "a town", 32) in made
    assert ("last_frame", "a lake", 32) not in made


def test_what_is_left_out_is_said_before_the_work(
    out: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "make_all", stop)
    assert run(out, prompts) == 130
    assert "longtake compare: not compared: concat: concat is not trained" in capsys.readouterr().err


def test_a_clip_model_that_was_named_and_cannot_be_used_is_refused(
    out: Path, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(out, prompts, "--methods", "last_frame", "--clip", "nobody/nothing") == 2
    assert "--clip nobody/nothing cannot be used" in capsys.readouterr().err
    assert not (out.parent / "calls.txt").exists()


def test_a_folder_in_use_is_refused_before_methods_are_loaded(
    out: Path, prompts: Path, loaded: list[tuple[str, MethodOptions]], capsys: pytest.CaptureFixture[str]
) -> None:
    with alone_in(out):
        assert run(out, prompts, "--methods", "last_frame") == 2
    assert "another comparison is at work" in capsys.readouterr().err
    assert loaded == []


def test_a_report_takes_no_other_option(out: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(out, prompts, "--methods", "last_frame") == 0
    assert run(out, prompts, "--report", "--flow", "raft") == 2
    assert "without --prompts, --frames, --flow" in capsys.readouterr().err
    assert command.main(["--report", "--out", str(prompts)]) == 2
    assert "nothing is finished" in capsys.readouterr().err


def test_failed_videos_are_named_and_the_exit_status_says_so(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.txt").write_text(f"a lake\n{BROKEN}\n")
    assert run(out, tmp_path / "broken.txt", "--methods", "last_frame", "free_noise") == 1
    printed = capsys.readouterr().out
    assert "- Failed: free\\_noise, a prompt that breaks" in printed
    assert "a prompt that breaks free" in printed
    assert (out / "videos/last_frame/001.mp4").is_file()
    assert not (out / "videos/free_noise/001.mp4").exists()


def test_a_report_with_nothing_finished_is_refused(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--report", "--out", str(out)]) == 2
    assert "nothing is finished" in capsys.readouterr().err
    assert not out.exists()


def test_a_report_after_a_start_without_a_video_is_refused(
    out: Path, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(out, prompts, "--methods", "last_frame") == 0
    for file in out.rglob("*.made.json"):
        file.unlink()
    assert command.main(["--report", "--out", str(out)]) == 2
    assert "nothing is finished" in capsys.readouterr().err


def test_a_report_needs_nothing_but_the_folder_and_makes_nothing(
    out: Path, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(out, prompts, "--methods", "last_frame") == 0
    (out / "videos/last_frame/001.figures.json").unlink()
    before = calls(out.parent)
    prompts.unlink()
    capsys.readouterr()
    assert command.main(["--report", "--out", str(out)]) == 0
    assert "## Not in the figures\n\n- Not finished: last frame: 1 of 2 videos\n" in capsys.readouterr().out
    assert calls(out.parent) == before


def test_a_damaged_plan_is_no_comparison(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out.mkdir()
    (out / "plan.json").write_text('{"version": 2, "plan": {"preset": 3}}')
    assert command.main(["--report", "--out", str(out)]) == 2
    assert "nothing is finished" in capsys.readouterr().err


def test_stopping_says_how_to_go_on(
    out: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "make_all", stop)
    assert run(out, prompts, "--methods", "last_frame") == 130
    assert "goes on from here" in capsys.readouterr().err


def test_the_sprites_world_has_its_held_out_prompts() -> None:
    preset = Catalog(Settings()).get("sprites").preset
    assert list(default_prompts(preset).prompts) == [captions.plain_caption(scene) for scene in suite_scenes(50)]


def test_other_presets_have_the_50_prompts_of_the_paper() -> None:
    prompts = default_prompts(Catalog(Settings()).get("modelscope").preset)
    assert len(prompts.prompts) == len(set(prompts.prompts)) == NUM_PROMPTS
    assert all(prompt == prompt.strip() and prompt.endswith(".") for prompt in prompts.prompts)
    # Numbers 1, 23, 33, 37 and 50 of section 11.
    assert [prompts.prompts[number - 1] for number in (1, 23, 33, 37, 50)] == [
        "A camel resting on the snow field.",
        "A squirrel in Antarctica, on a pile of hazelnuts cinematic.",
        "steampunk robot looking at the camera.",
        "A tiger eating raw meat on the street.",
        "Beside the ancient amphitheater of Taormina, a group of friends enjoyed a leisurely picnic, taking in the"
        " breathtaking views.",
    ]
    assert "arXiv 2403.14773v2, section 11" in prompts.source


def test_the_documentation_names_every_option() -> None:
    text = (DOCS / "evaluation.md").read_text()
    options = set(re.findall(r"--[a-z-]+", command.build_parser().format_help())) - {"--help"}
    assert {option for option in options if option not in text} == set()
