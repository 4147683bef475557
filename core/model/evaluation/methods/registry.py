"""The compared methods by name: strategies on one preset's networks, ablation trials, and installed presets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from core.metrics.video.seams import WINDOW_BORDERS, Borders
from core.model.cores import usable_cores
from core.model.evaluation.methods.base_model import load_base
from core.model.evaluation.methods.free_noise import FREE_NOISE, FreeNoise
from core.model.evaluation.methods.last_frame import LAST_FRAME, LastFrame
from core.model.evaluation.methods.last_frame_trial import LAST_FRAME_TRIAL, load_last_frame_trial
from core.model.evaluation.methods.method import Method, MethodError, MethodFacts
from core.model.evaluation.methods.presets import facts_of_preset, load_preset, makes_videos
from core.model.evaluation.methods.trials import TrialFiles, load_trial_method, trial_facts
from core.service.admission.catalog import Catalog, PresetFolder
from core.service.domain.errors import PresetError
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.schema import DEFAULT_PROFILE, Profile
from core.service.settings import Settings

_FULL_SIZE_ZERO = "text2video-zero"


@dataclass(frozen=True)
class MethodOptions:
    """Where methods find their networks. Picklable: processes load their own methods."""

    settings: Settings = field(default_factory=Settings)
    """Folders of presets and weights, and CPU threads."""
    preset: str = "sprites"
    """The preset of engine `streaming_t2v` on whose networks the strategies work."""
    work: Path | None = None
    """Working folder of `longtake train` on whose base the ablation trials were trained."""
    trials: Path | None = None
    """Folder of the trials of one budget, such as out/evaluation/ablations/300-steps-2-processes."""
    trial_seed: int | None = None
    """Of the trial's training; None: the recipe's, which is the first that a run trains."""
    recipe: str = "sprites"
    """The recipe trained in `work`."""
    profile: Profile = DEFAULT_PROFILE
    """Of presets that have profiles: `reference` samples as published."""
    smoke: bool = False
    """Whether `work` and `trials` were made with --smoke."""

    @property
    def trial_files(self) -> TrialFiles:
        return TrialFiles(self.work, self.trials, self.recipe, self.trial_seed, self.smoke)


@dataclass(frozen=True)
class _Entry:
    """A named method that is not just a preset."""

    facts: MethodFacts
    load: Callable[[MethodFacts, MethodOptions], Method]


def method_names(options: MethodOptions) -> list[str]:
    """Strategies and trials, then installed presets that make a video from a prompt or an image."""
    catalog = Catalog(options.settings)
    return [*_ENTRIES, *(name for name in catalog.names() if _is_usable(catalog.get(name)))]


def method_facts(name: str, options: MethodOptions) -> MethodFacts:
    """What is known without loading. Raises MethodError with the names that exist, and PresetError."""
    if name in _ENTRIES:
        return _ENTRIES[name].facts
    return facts_of_preset(_preset_folder(name, options).preset)


def load_method(name: str, options: MethodOptions) -> Method:
    """The method with its networks.

    Raises MethodError for an unknown name, and for a trial that is not trained, with what to run; PresetError and
    ModelNotInstalled.
    """
    if name in _ENTRIES:
        entry = _ENTRIES[name]
        return entry.load(entry.facts, options)
    folder = _preset_folder(name, options)
    return load_preset(folder, facts_of_preset(folder.preset), options.profile)


def _preset_folder(name: str, options: MethodOptions) -> PresetFolder:
    catalog = Catalog(options.settings)
    if name not in catalog.names():
        raise MethodError(f"there is no method {name!r}", fix=f"use one of: {', '.join(method_names(options))}")
    return catalog.get(name)


def _is_usable(folder: PresetFolder) -> bool:
    try:
        return folder.installed and makes_videos(folder.preset)
    except PresetError:
        return False


def _load_streaming(facts: MethodFacts, options: MethodOptions) -> Method:
    return load_preset(Catalog(options.settings).get(options.preset), facts, options.profile)


def _load_zero(facts: MethodFacts, options: MethodOptions) -> Method:
    """The preset of Text2Video-Zero in the strategies' world, else the full-size one."""
    catalog = Catalog(options.settings)
    presets = {name: catalog.get(name) for name in catalog.names()}
    alike = [name for name, folder in presets.items() if _is_usable(folder) and _is_zero_of(folder, options.preset)]
    return load_preset(catalog.get(alike[0] if alike else _FULL_SIZE_ZERO), facts, options.profile)


def _is_zero_of(folder: PresetFolder, preset: str) -> bool:
    return folder.preset.engine == "text2video_zero" and folder.preset.shares == preset


def _load_last_frame(_: MethodFacts, options: MethodOptions) -> Method:
    return LastFrame(load_base(Catalog(options.settings).get(options.preset), options.profile))


def _load_last_frame_trial(_: MethodFacts, options: MethodOptions) -> Method:
    _set_threads(options)
    return load_last_frame_trial(options.trial_files, options.profile)


def _load_free_noise(_: MethodFacts, options: MethodOptions) -> Method:
    return FreeNoise(load_base(Catalog(options.settings).get(options.preset), options.profile))


def _load_trial(variant: str, facts: MethodFacts, options: MethodOptions) -> Method:
    _set_threads(options)
    return load_trial_method(facts, variant, options.trial_files, options.profile)


def _set_threads(options: MethodOptions) -> None:
    """As loading any engine does."""
    torch.set_num_threads(options.settings.torch_threads or usable_cores())


def _trial(name: str, variant: str, title: str) -> _Entry:
    return _Entry(trial_facts(name, variant, title), partial(_load_trial, variant))


_OWN = (
    _Entry(
        MethodFacts(
            "streaming_t2v",
            "StreamingT2V",
            "all 16 frames",
            "arXiv 2403.14773, the preset's CAM and APM",
            WINDOW_BORDERS,
        ),
        _load_streaming,
    ),
    _trial("streaming_t2v_trial", "cam-apm", "StreamingT2V, trial"),
    _trial("cam", "cam", "CAM, trial"),
    _trial("concat", "concat", "channel concatenation, trial"),
    _trial("additive", "add", "additive zero-conv, trial"),
    _Entry(LAST_FRAME_TRIAL, _load_last_frame_trial),
    _Entry(LAST_FRAME, _load_last_frame),
    _Entry(FREE_NOISE, _load_free_noise),
    _Entry(
        MethodFacts(
            *("text2video_zero", "Text2Video-Zero", "no", "arXiv 2303.13439"),
            borders=Borders(CHUNK_FRAMES, CHUNK_FRAMES),
            training="none",
        ),
        _load_zero,
    ),
)
_ENTRIES: Mapping[str, _Entry] = {entry.facts.name: entry for entry in _OWN}
