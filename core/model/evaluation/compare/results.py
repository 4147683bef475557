"""What is finished of a comparison, and what follows: means, ranks, differences, verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from core.metrics.bootstrap import Interval
from core.metrics.video.facts import FACTS
from core.metrics.video.metric import Fact
from core.model.evaluation.compare.paired import NOTHING, Gain, Verdict, gain, mean, ranks
from core.model.evaluation.compare.plan import Plan
from core.model.evaluation.compare.published import METRICS, Ordering, orderings
from core.model.evaluation.compare.workspace import Finished, Workspace
from core.model.evaluation.learned.facts import LEARNED_FACTS
from core.model.evaluation.methods.method import MethodFacts

_MOST_NOTES = 10
_NETWORKS = ("clip", "tower", "lpips")
_SEAM_NOTES = ("seam score is of borders", "where windows begin is not known")
KNOWN: Mapping[str, Fact] = {**FACTS, **LEARNED_FACTS}


def fact_of(name: str) -> Fact:
    """What readers must know of a value."""
    return KNOWN.get(name) or Fact(name, "Not described.")


@dataclass(frozen=True)
class MethodResults:
    """The finished videos of a method, and its failures, by the prompt's index."""

    facts: MethodFacts
    finished: Mapping[int, Finished]
    failures: Mapping[int, str]

    def values(self, name: str, prefix: int | None = None) -> dict[int, float]:
        """A value of every finished video, or of its first `prefix` frames, that has it."""
        found: dict[int, float] = {}
        for index, video in self.finished.items():
            values = video.measured.whole.values if prefix is None else video.measured.prefixes.get(prefix, {})
            if (value := values.get(name)) is not None:
                found[index] = float(value)
        return found

    def mean(self, name: str, prefix: int | None = None) -> Interval | None:
        """The mean over videos; None if no video has the value."""
        return mean(list(self.values(name, prefix).values()))

    @property
    def seconds(self) -> Interval | None:
        """How long a video took, mean over videos."""
        return mean([video.seconds for video in self.finished.values()])

    @property
    def fingerprints(self) -> list[str]:
        """Of the method's finished videos."""
        return sorted({video.fingerprint for video in self.finished.values()})

    @property
    def threads(self) -> list[int]:
        """CPU threads with which its videos were made; several if runs had different ones."""
        return sorted({video.threads for video in self.finished.values()})


@dataclass(frozen=True)
class Finding:
    """A published ordering, and what was found."""

    ordering: Ordering
    measured_as: str | None
    """The value that stands for the published metric; None if there is none."""
    gain: Gain
    is_fair: bool = True
    """False where a trial's short training meets a preset's long one."""

    @property
    def verdict(self) -> Verdict:
        """None is given between methods of unequal training: the difference may be the training's."""
        return self.gain.verdict if self.is_fair or self.gain.interval is None else "unequal training"


@dataclass(frozen=True)
class Results:
    """A comparison as far as it is finished."""

    plan: Plan
    methods: Mapping[str, MethodResults]
    by: Mapping[str, str]
    """What all values depend on beside videos and prompts: flow, size, CLIP model, versions."""

    @property
    def num_finished(self) -> int:
        return sum(len(method.finished) for method in self.methods.values())

    @property
    def missing(self) -> list[str]:
        """What is not finished, a sentence for each method."""
        total = len(self.plan.prompts)
        return [
            f"{method.facts.title}: {total - len(method.finished)} of {total} videos"
            for method in self.methods.values()
            if len(method.finished) < total
        ]

    @cached_property
    def names(self) -> list[str]:
        """The values that any video has, in the order in which they are described."""
        videos = [video for method in self.methods.values() for video in method.finished.values()]
        found = {name for video in videos for name, value in video.measured.whole.values.items() if value is not None}
        return [*(name for name in KNOWN if name in found), *sorted(found - KNOWN.keys())]

    @property
    def notes(self) -> list[tuple[str, int]]:
        """What metrics say of videos, such as why a value is missing, and of how many; the commonest first. What the
        report says elsewhere is left out: models, and where each method's windows begin."""
        said = [*(self.by[key] for key in _NETWORKS if key in self.by), *_SEAM_NOTES]
        notes = (
            note
            for method in self.methods.values()
            for video in method.finished.values()
            for note in video.measured.whole.notes
            if not any(part in note for part in said)
        )
        return Counter(notes).most_common(_MOST_NOTES)

    @property
    def headline(self) -> list[str]:
        """The values that stand for the metrics of the paper's Table 1."""
        standing_for = (name for key in ("mawe", "scuts", "clip") for name in METRICS[key].measured_as)
        return [name for name in standing_for if name in self.names]

    @property
    def prefixes(self) -> list[int]:
        """Lengths of the prefixes that were measured."""
        videos = [video for method in self.methods.values() for video in method.finished.values()]
        return sorted({length for video in videos for length in video.measured.prefixes})

    def ranks(self, name: str) -> dict[str, int]:
        """The rank of each method that has the value, 1 for the best, by its mean over the prompts that all these
        methods have; {} for values that are neither good nor bad, or do not compare, and where no prompt is such."""
        better = fact_of(name).better
        values = {key: self.methods[key].values(name) for key in self.methods_with(name)}
        if not self.compares(name, *values):
            return {}
        shared = set.intersection(*(set(found) for found in values.values())) if values else set[int]()
        if better is None or not shared:
            return {}
        means = {key: sum(found[prompt] for prompt in sorted(shared)) / len(shared) for key, found in values.items()}
        return ranks(means, higher_is_better=better == "higher")

    def gain(self, better: str, worse: str, name: str, *, higher_is_better: bool) -> Gain:
        """By how much one method is better than another, paired by prompt; NOTHING of values that do not compare."""
        if not self.compares(name, better, worse):
            return NOTHING
        first, second = self.methods[better], self.methods[worse]
        finished = len(first.finished.keys() & second.finished.keys())
        return gain(first.values(name), second.values(name), finished, higher_is_better=higher_is_better)

    def methods_with(self, name: str) -> list[str]:
        """The methods that have a value, of any video."""
        return [key for key, method in self.methods.items() if method.values(name)]

    def compares(self, name: str, *methods: str) -> bool:
        """Whether a value of these methods compares: seam scores are of the borders that each method has."""
        return name != "seam_score" or len({self.methods[method].facts.borders for method in methods}) == 1

    def findings(self) -> list[Finding]:
        """Every ordering that the paper publishes of two of these methods."""
        return [self._finding(ordering) for ordering in orderings(list(self.methods))]

    def _finding(self, ordering: Ordering) -> Finding:
        metric = METRICS[ordering.metric]
        name = next((name for name in metric.measured_as if name in self.names), None)
        if name is None:
            return Finding(ordering, None, NOTHING)
        gained = self.gain(ordering.better, ordering.worse, name, higher_is_better=metric.better == "higher")
        return Finding(ordering, name, gained, self.is_fair(ordering.better, ordering.worse))

    def is_fair(self, first: str, second: str) -> bool:
        """Whether neither has weights that were trained far longer than the other's."""
        return {self.methods[name].facts.training for name in (first, second)} != {"the preset's", "a trial's"}


def read_results(plan: Plan, workspace: Workspace) -> Results:
    """All that is finished. Values by different flows, sizes or models do not compare: those that most videos have are
    taken, and the other videos count as not finished."""
    indices = range(len(plan.prompts))
    finished = {
        name: {
            i: video
            for i in indices
            if (video := workspace.finished(plan.video(name, i), plan.expected(name))) is not None
        }
        for name in plan.methods
    }
    by = _commonest(video.by for videos in finished.values() for video in videos.values())
    methods = {
        name: MethodResults(
            facts,
            {index: video for index, video in finished[name].items() if video.by == by},
            {i: error for i in indices if (error := workspace.failure(plan.video(name, i))) is not None},
        )
        for name, facts in plan.methods.items()
    }
    return Results(plan, methods, by)


def _commonest(found: Iterable[Mapping[str, str]]) -> Mapping[str, str]:
    """The measurement that occurs most often; {} if there is none."""
    counted = Counter(tuple(sorted(by.items())) for by in found)
    return dict(counted.most_common(1)[0][0]) if counted else {}
