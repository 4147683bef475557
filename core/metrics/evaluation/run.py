"""Looks at videos, says what is wrong with them, and measures them: in parallel, and only what is not stored yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from core.metrics.evaluation.inputs import Source, readable
from core.metrics.evaluation.instruments import Asked, Instrument, Instruments
from core.metrics.evaluation.look import Fault, Look, Looked, Stamp, stamp_of, text_of_unreadable
from core.metrics.evaluation.means import means_over_videos
from core.metrics.evaluation.pictures import Pictures, PictureTaker
from core.metrics.evaluation.processes import Tell, work_all
from core.metrics.evaluation.results import FileFacts, Measured, Problem, Results, StoredCurve, Value, VideoResult
from core.metrics.evaluation.store import Store, key_of
from core.metrics.video.frames import VideoFile
from core.metrics.video.metric import Curve
from core.service.domain.errors import shortened
from core.service.video.decode import VideoUnreadable

METRICS_VERSION = 2
"""Rises when a metric of the same name and options gives other values: stored results are then made again."""
_TELL_EVERY_FRAMES = 8


@dataclass(frozen=True)
class Video:
    """A video that can be measured."""

    source: Source
    file: FileFacts
    stamp: Stamp


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
            case Looked(facts, stamp):
                videos.append(Video(source, facts, stamp))
            case fault:
                problems.append(_skipped(source, fault))
    return videos, problems


def measure_all(
    videos: Sequence[Video],
    instruments: Instruments,
    store: Store,
    processes: int,
    threads: int,
    tell: Tell,
) -> tuple[list[Measurement], list[Problem]]:
    """Measure what the store does not have: results in the order of `videos`, and why others failed. `tell` is told
    frames.

    Each result is stored at once. Raises SetupError where a process was killed, and OSError where nothing can be
    stored.
    """
    options = instruments.options
    keys = [_key_of(video, options, reads_prompts=instruments.reads_prompts) for video in videos]
    found: list[Measured | Fault | None] = [store.measured(key) for key in keys]
    missing = [index for index, stored in enumerate(found) if stored is None]
    tell(sum(video.file.num_frames for video, stored in zip(videos, found, strict=True) if stored is not None))
    work = _Measure(instruments, store, threads)
    for done, measured in work_all(work, [(videos[index], keys[index]) for index in missing], processes, tell):
        found[missing[done]] = measured
    measurements: list[Measurement] = []
    problems: list[Problem] = []
    for video, key, result in zip(videos, keys, found, strict=True):
        if isinstance(result, Measured):
            measurements.append(Measurement(video, result, key))
        elif result is not None:
            problems.append(_skipped(video.source, result))
    return measurements, problems


def _skipped(source: Source, fault: Fault) -> Problem:
    return Problem(input=source.name, kind=fault.kind, text=fault.text, is_skipped=True)


def _key_of(video: Video, options: Mapping[str, str | int | None], *, reads_prompts: bool) -> str:
    source = video.source
    prompts = [source.prompt, [change.model_dump() for change in source.prompt_changes]]
    return key_of(
        {
            "file": video.file.sha256,
            "version": METRICS_VERSION,
            "options": dict(options),
            "borders": None if source.borders is None else str(source.borders),
            "prompts": prompts if reads_prompts else None,
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

    def __call__(self, task: tuple[Video, str], tell: Tell) -> Measured | Fault:
        video, key = task
        told = 0

        def tell_and_count(frames: int) -> None:
            nonlocal told
            tell(frames)
            told += frames

        found = self._try(video, tell_and_count)
        tell(video.file.num_frames - told)
        if isinstance(found, Fault):
            return found
        measured, pictures = found
        self.store.keep_measured(key, measured, pictures)
        return measured

    def _try(self, video: Video, tell: Tell) -> tuple[Measured, Pictures] | Fault:
        """One video that fails, in whichever library, does not end the others."""
        path = video.source.path
        try:
            found = self._measure(video, tell)
            # A result is stored by the bytes that were looked at: these must be the ones that were measured.
            return found if stamp_of(path) == video.stamp else Fault("changed", "it changed while it was measured")
        except VideoUnreadable as error:
            return Fault("unreadable", text_of_unreadable(error))
        except OSError as error:
            return Fault("unreadable", f"it cannot be read: {error.strerror}")
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return Fault("failed", f"it could not be measured: {shortened(reason)}")

    def _measure(self, video: Video, tell: Tell) -> tuple[Measured, Pictures]:
        source = video.source
        asked = Asked(source.prompt, source.prompt_changes, source.borders)
        instruments = self.instruments.of_video(video.file.fps, asked)
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
        return _measured(instruments), taker.pictures()


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
        curves.update({name: _stored(curve) for name, curve in curves_of_one.items()})
        for name in dict.fromkeys([*of_one, *curves_of_one]):
            if instrument.flow is not None:
                flows[name] = instrument.flow
            if (model := instrument.model_of(name)) is not None:
                models[name] = model
    notes = tuple(note for instrument in instruments for note in instrument.metric.notes())
    return Measured(values=values, flows=flows, models=models, curves=curves, notes=notes)


def _stored(curve: Curve) -> StoredCurve:
    return StoredCurve(step=curve.step, first=curve.first, values=tuple(curve.values))


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
