"""Pulling a preset from a Hub on loopback that serves small random models in the real repositories' formats."""

import fcntl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.model.checksums import verify_sums
from core.model.convert.summary import no_report
from core.model.engines.streaming_t2v.loading import load_engine
from core.model.hub.pull import pull
from core.model.hub.repository import HuggingFaceHub
from core.service.admission.catalog import Catalog, PresetFolder
from core.service.domain.engine import NO_INPUT_MEDIA
from core.service.domain.errors import DownloadDamaged, HubFileMissing, HubUnreachable, SetupError
from core.service.engines.preset import HubFiles
from core.service.settings import Settings
from tests.helpers.hub_repositories import write_checkpoint_repository
from tests.helpers.hub_server import Hub
from tests.helpers.jobs import job_spec
from tests.helpers.pulling import (
    BASE,
    CHECKPOINT,
    pins,
    pull_from,
    stored_dtype,
)


def test_a_pulled_preset_makes_a_chunk(hub: Hub, preset: PresetFolder) -> None:
    assert not preset.installed

    weights = pull_from(hub, preset)

    assert preset.installed
    assert preset.tokenizer.count("red cat") == 2
    assert verify_sums(weights) > 12
    engine = load_engine(preset.path, weights=weights, device="cpu", torch_threads=1)
    spec = job_spec(prompt="red cat", model="modelscope", num_frames=24, num_inference_steps=2)
    first = engine.next_chunk(spec, engine.start(spec, NO_INPUT_MEDIA), lambda _step, _steps: None)
    second = engine.next_chunk(spec, first.state, lambda _step, _steps: None)
    assert first.frames.shape == (16, 32, 32, 3)
    assert second.frames.shape == (8, 32, 32, 3)
    assert second.frames.std() > 1


def test_only_the_files_that_are_needed_are_fetched_once(hub: Hub, preset: PresetFolder) -> None:
    phases: list[str] = []
    pull_from(hub, preset, lambda phase, _done, _total: phases.append(phase))
    served = [entry.path for entry in hub.served]
    asked = len(hub.asked)

    pull_from(hub, preset)

    assert sorted(served) == [
        "streaming_t2v.ckpt",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
    ]
    assert len(hub.asked) == asked
    assert {"streaming_t2v.ckpt", "verify streaming_t2v.ckpt", "cam", "first_chunk_unet"} <= set(phases)


def test_the_lock_file_lists_exactly_the_pulled_files(hub: Hub, preset: PresetFolder) -> None:
    pull_from(hub, preset, dtype="bfloat16")

    lock = pins(preset)
    checkpoint = lock["repositories"][CHECKPOINT]
    assert checkpoint["commit"] == hub.commit_of(CHECKPOINT, "main")
    assert len(checkpoint["files"]["streaming_t2v.ckpt"]["sha256"]) == 64
    assert len(lock["repositories"][BASE]["files"]["unet/config.json"]["sha256"]) == 64
    assert lock["dtype"] == "bfloat16"
    assert stored_dtype(preset.weights / "unet") == "BF16"
    assert stored_dtype(preset.weights / "first_chunk_unet") == "F16"  # as published


def test_a_later_pull_takes_the_pinned_commit_though_the_branch_moved(
    hub: Hub, preset: PresetFolder, tmp_path: Path
) -> None:
    pull_from(hub, preset)
    first, tensor = pins(preset)["repositories"][CHECKPOINT], preset.weights / "unet" / "model.safetensors"
    before = tensor.read_bytes()
    hub.publish(CHECKPOINT, write_checkpoint_repository(tmp_path / "newer", seed=5))
    for folder in (preset.weights, preset.weights.parent / "downloads"):
        folder.rename(tmp_path / f"old-{folder.name}")

    pull_from(hub, preset)

    assert pins(preset)["repositories"][CHECKPOINT] == first
    assert tensor.read_bytes() == before


def test_another_revision_is_pulled_where_it_is_asked_for(hub: Hub, preset: PresetFolder, tmp_path: Path) -> None:
    old = hub.commit_of(CHECKPOINT, "main")
    hub.publish(CHECKPOINT, write_checkpoint_repository(tmp_path / "newer", seed=5))

    pull_from(hub, preset, revision=old)

    assert pins(preset)["repositories"][CHECKPOINT]["commit"] == old
    assert hub.num_bytes_served("streaming_t2v.ckpt") == len(hub.revisions[CHECKPOINT][old]["streaming_t2v.ckpt"])


def test_an_installed_preset_does_not_silently_stay_another(hub: Hub, preset: PresetFolder) -> None:
    pull_from(hub, preset)

    pull_from(hub, preset, dtype="float32", revision="main")
    with pytest.raises(SetupError, match="is installed with float32 weights"):
        pull_from(hub, preset, dtype="bfloat16")
    with pytest.raises(SetupError, match="is installed with revision main"):
        pull_from(hub, preset, revision="v2")


def test_a_broken_connection_is_continued_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    content = bytes(range(256)) * 100_000  # 25.6 MB: huggingface_hub hands on blocks of 10 MiB
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "file.bin").write_bytes(content)
    commit = hub.publish("org/large", tmp_path / "large")
    hub.break_off_after = 15_000_000
    part, counted = tmp_path / "file.part", list[int]()

    HuggingFaceHub(hub.url).fetch("org/large", commit, "file.bin", part, counted.append)

    assert part.read_bytes() == content
    assert sum(counted) == len(content)
    assert [served.first_byte for served in hub.served] == [0, 10 * 2**20]
    assert hub.num_bytes_served("file.bin") == 15_000_000 + len(content) - 10 * 2**20


def test_an_interrupted_pull_is_continued_by_the_next(hub: Hub, preset: PresetFolder) -> None:
    class Stopped(BaseException):
        """What a person's Ctrl-C raises."""

    size = len(hub.revisions[CHECKPOINT]["main"]["streaming_t2v.ckpt"])
    half = preset.weights.parent / "downloads" / CHECKPOINT / "streaming_t2v.ckpt.part"

    def stop(phase: str, _done: int, _total: int) -> None:
        if phase == "streaming_t2v.ckpt":
            with half.open("r+b") as file:
                file.truncate(size // 2)  # as if the rest had not come yet
            raise Stopped

    with pytest.raises(Stopped):
        pull_from(hub, preset, stop)
    assert not preset.installed
    hub.served.clear()

    pull_from(hub, preset)

    assert preset.installed
    assert [(served.path, served.first_byte) for served in hub.served] == [("streaming_t2v.ckpt", size // 2)]


def test_a_damaged_download_is_noticed_and_fetched_anew(hub: Hub, preset: PresetFolder) -> None:
    size = len(hub.revisions[CHECKPOINT]["main"]["streaming_t2v.ckpt"])
    part = preset.weights.parent / "downloads" / CHECKPOINT / "streaming_t2v.ckpt.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(size // 2))  # half of a file, and wrong

    with pytest.raises(
        DownloadDamaged, match=r"streaming_t2v\.ckpt has another checksum .* it is now streaming_t2v\.ckpt\.damaged"
    ):
        pull_from(hub, preset)

    assert not preset.installed
    pull_from(hub, preset)
    assert preset.installed
    assert hub.num_bytes_served("streaming_t2v.ckpt") == size - size // 2 + size


def test_a_file_of_git_is_checked_too(hub: Hub, preset: PresetFolder) -> None:
    vocabulary = preset.weights.parent / "downloads" / BASE / "tokenizer" / "vocab.json"
    vocabulary.parent.mkdir(parents=True)
    content = hub.revisions[BASE]["main"]["tokenizer/vocab.json"]
    vocabulary.write_bytes(content.replace(b"cat", b"cut"))

    with pytest.raises(DownloadDamaged, match=r"vocab\.json has another checksum"):
        pull_from(hub, preset)


def test_files_in_place_need_no_hub(hub: Hub, preset: PresetFolder, repositories: Path) -> None:
    hub.out_of_order = True
    downloads = preset.weights.parent / "downloads"
    for repository in (CHECKPOINT, BASE):
        (downloads / repository).parent.mkdir(parents=True, exist_ok=True)
        (downloads / repository).symlink_to(repositories / repository)

    pull_from(hub, preset)

    assert preset.installed
    checkpoint = pins(preset)["repositories"][CHECKPOINT]
    assert "commit" not in checkpoint
    assert len(checkpoint["files"]["streaming_t2v.ckpt"]["sha256"]) == 64


def test_without_hub_and_files_it_says_which_are_missing_and_what_to_do(preset: PresetFolder) -> None:
    with pytest.raises(HubUnreachable) as caught:
        pull(preset, report=no_report, hub=HuggingFaceHub("http://127.0.0.1:9"))

    downloads = preset.weights.parent / "downloads"
    assert str(downloads / CHECKPOINT / "streaming_t2v.ckpt") in caught.value.message
    assert str(downloads / BASE / "tokenizer" / "merges.txt") in caught.value.message
    assert "longtake pull modelscope" in str(caught.value.fix)
    assert not preset.installed


def test_a_hub_that_is_out_of_order_is_not_taken_for_a_missing_file(hub: Hub, preset: PresetFolder) -> None:
    hub.out_of_order = True

    with pytest.raises(HubUnreachable, match="answered 503"):
        pull_from(hub, preset)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (HubFiles(repository="no/where", revision="main", files=("a",)), "no repository no/where"),
        (HubFiles(repository=CHECKPOINT, revision="v9", files=("a",)), "has no revision v9"),
        (HubFiles(repository=CHECKPOINT, revision="main", files=("a.ckpt",)), r"has no a\.ckpt"),
    ],
)
def test_what_the_hub_does_not_have_is_named(hub: Hub, wanted: HubFiles, said: str) -> None:
    with pytest.raises(HubFileMissing, match=said):
        HuggingFaceHub(hub.url).describe(wanted)


def test_a_shipped_preset_is_not_pulled(hub: Hub) -> None:
    with pytest.raises(SetupError, match="nothing to pull"):
        pull_from(hub, Catalog(Settings()).get("sprites"))


def test_a_weights_folder_that_cannot_be_made_is_named(hub: Hub, preset: PresetFolder) -> None:
    preset.weights.parent.write_text("in the way")

    with pytest.raises(SetupError, match="weights cannot be used") as caught:
        pull_from(hub, preset)
    assert "LONGTAKE_WEIGHTS_DIR" in str(caught.value.fix)


def test_of_two_pulls_at_once_one_works_and_the_other_waits(hub: Hub, preset: PresetFolder) -> None:
    waiting, phases = threading.Event(), list[str]()

    def report(phase: str, _done: int, _total: int) -> None:
        phases.append(phase)
        waiting.set()

    preset.weights.parent.mkdir()
    with (preset.weights.parent / ".modelscope.pull.lock").open("w") as other, ThreadPoolExecutor(1) as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        pulled = pool.submit(pull_from, hub, preset, report)
        assert waiting.wait(60)
        asked_while_waiting = list(hub.asked)
        fcntl.flock(other, fcntl.LOCK_UN)
        pulled.result(60)

    assert phases[0] == "another process pulls it"
    assert asked_while_waiting == []
    assert preset.installed
