"""Looks at videos, says what is wrong with them, and measures them: in parallel, and only what is not stored yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from core.metrics.evaluation.inputs import Source, readable
from core.metrics.evaluation.instruments import Instrument, Instruments, Shown
from core.metrics.evaluation.look import Look
from core.metrics.evaluation.means import means_over_videos
from core.metrics.evaluation.pictures import PictureTaker
from core.metrics.evaluation.processes import Tell, work_all
from core.metrics.evaluation.results import FileFacts, Measured, Problem, Results, StoredCurve, Value, VideoResult
from core.metrics.evaluation.store import Store, key_of
from core.metrics.video.frames import VideoFile

METRICS_VERSION = 2
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
    prompts = [source.prompt, [change.model_dump() for change in source.prompt_changes]]
    return key_of(
        {
            "file": video.file.sha256,
            "version": METRICS_VERSION,
            "options": dict(instruments.options),
            "chunk_frames": source.chunk_frames,
            "prompts": prompts if instruments.reads_prompts else None,
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
        shown = Shown(source.prompt, source.prompt_changes, source.chunk_frames)
        instruments = self.instruments.of_video(video.file.fps, shown)
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
        measured = _measured(instruments)
        self.store.keep_measured(key, measured, taker.pictures())
        return measured


def _measured(instruments: Sequence[Instrument]) -> Measured:
    """What the instruments say after the last frame."""
    values: dict[str, Value] = {}
    curves: dict[str, StoredCurve] = {}
    flows: dict[str, str] = {}
    models: dict[str, str] = {}
    for instrument in instruments:
        of_one = instrument.metric.values()
        curves_of_one = instrument.metric.curves()
        values.update(of_one)
        stored = {
            name: StoredCurve(step=c.step, values=tuple(c.values), first=c.first) for name, c in curves_of_one.items()
        }
        curves.update(stored)
        for name in dict.fromkeys([*of_one, *curves_of_one]):
            if instrument.flow is not None:
                flows[name] = instrument.flow
            if (model := instrument.model_of(name)) is not None:
                models[name] = model
    notes = tuple(note for instrument in instruments for note in instrument.metric.notes())
    return Measured(values=values, flows=flows, models=models, curves=curves, notes=notes)


def results_of(measurements: Sequence[Measurement], problems: Sequence[Problem], instruments: Instruments) -> Results:
    """The whole evaluation, as it is stored."""
    videos = [
        VideoResult(
            name=video.source.name,
            path=readable(video.source.path),
            job_id=video.source.job_id,
            variant=video.source.variant,
            prompt=video.source.prompt,
            prompt_changes=tuple(video.source.prompt_changes),
            file=video.file,
            measured=measurement.measured,
        )
        for measurement in measurements
        for video in [measurement.video]
    ]
    return Results(
        longtake_version=version("longtake"),
        metrics_version=METRICS_VERSION,
        options=dict(instruments.options),
        means=tuple(means_over_videos([video.measured for video in videos], list(instruments.facts))),
        videos=tuple(videos),
        problems=tuple(problems),
    )
