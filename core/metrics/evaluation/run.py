"""Looks at videos, says what is wrong with them, and measures them: in parallel, and only what is not stored yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.metrics.evaluation.inputs import Source
from core.metrics.evaluation.instruments import Instruments, Shown
from core.metrics.evaluation.look import Look
from core.metrics.evaluation.pictures import PictureTaker
from core.metrics.evaluation.processes import Tell, work_all
from core.metrics.evaluation.results import FileFacts, Measured, Problem, StoredCurve
from core.metrics.evaluation.store import Store, key_of
from core.metrics.video.frames import VideoFile

METRICS_VERSION = 1
"""Rises when a metric of the same name and options gives other values: stored results are then made again."""
_TELL_EVERY_FRAMES = 8


@dataclass(frozen=True)
class Video:
    """A video that can be measured."""

    source: Source
    file: FileFacts


@dataclass(frozen=True)
class Measurement:
    """A measured video, and the key under which its pictures are stored."""

    video: Video
    measured: Measured
    key: str


def look_at_all(
    sources: Sequence[Source], store: Store, processes: int, tell: Tell
) -> tuple[list[Video], list[Problem]]:
    """Those that can be measured, in the given order, and what is wrong with the others. `tell` is told videos."""
    found = dict(work_all(Look(store), [source.path for source in sources], processes, tell))
    videos: list[Video] = []
    problems: list[Problem] = []
    for index, source in enumerate(sources):
        match found[index]:
            case FileFacts() as facts:
                videos.append(Video(source, facts))
            case fault:
                problems.append(Problem(input=source.name, kind=fault.kind, text=fault.text, is_skipped=True))
    return videos, problems


def measure_all(
    videos: Sequence[Video],
    instruments: Instruments,
    store: Store,
    processes: int,
    threads: int,
    tell: Tell,
    on_video: Callable[[Video], None] = lambda _: None,
) -> list[Measurement]:
    """Measure what the store does not have; results are in the order of `videos`. `tell` is told frames.

    Each result is stored at once. Raises SetupError where a process was killed.
    """
    keys = [_key_of(video, instruments) for video in videos]
    stored = [store.measured(key) for key in keys]
    for video, measured in zip(videos, stored, strict=True):
        if measured is not None:
            tell(video.file.num_frames)
            on_video(video)
    missing = [index for index, measured in enumerate(stored) if measured is None]
    work = _Measure(instruments, store, threads)
    for done, measured in work_all(work, [(videos[index], keys[index]) for index in missing], processes, tell):
        stored[missing[done]] = measured
        on_video(videos[missing[done]])
    found = zip(videos, stored, keys, strict=True)
    return [Measurement(video, measured, key) for video, measured, key in found if measured is not None]


def _key_of(video: Video, instruments: Instruments) -> str:
    source = video.source
    shown = [source.prompt, [change.model_dump() for change in source.prompt_changes]]
    return key_of(
        {
            "file": video.file.sha256,
            "version": METRICS_VERSION,
            "options": dict(instruments.options),
            "shown": shown if instruments.reads_prompts else None,
        }
    )


@dataclass(frozen=True)
class _Measure:
    """Measures one video after another."""

    instruments: Instruments
    store: Store
    threads: int

    def prepare(self) -> None:
        self.instruments.prepare(self.threads)

    def __call__(self, task: tuple[Video, str], tell: Tell) -> Measured:
        video, key = task
        source = video.source
        instruments = self.instruments.of_video(video.file.fps, Shown(source.prompt, source.prompt_changes))
        taker = PictureTaker(video.file.num_frames)
        untold = 0
        with VideoFile(source.path.absolute()) as frames:
            for frame in frames:
                taker.add(frame)
                for instrument in instruments:
                    instrument.metric.add(frame)
                untold += 1
                if untold == _TELL_EVERY_FRAMES:
                    tell(untold)
                    untold = 0
        tell(untold)
        values = {name: value for each in instruments for name, value in each.metric.values().items()}
        curves = {name: curve for each in instruments for name, curve in each.metric.curves().items()}
        of_value = {name: each for each in instruments for name in (*each.metric.values(), *each.metric.curves())}
        models = {name: each.model_of(name) for name, each in of_value.items()}
        measured = Measured(
            values=values,
            flows={name: each.flow for name, each in of_value.items() if each.flow is not None},
            models={name: model for name, model in models.items() if model is not None},
            curves={name: StoredCurve(step=curve.step, values=tuple(curve.values)) for name, curve in curves.items()},
            notes=tuple(note for each in instruments for note in each.metric.notes()),
        )
        self.store.keep_measured(key, measured, taker.pictures())
        return measured
