"""The presets of a deployment, from <presets_dir>/<name>/preset.json and from packages that bring engines.

Knows which presets exist and whether their weights are installed. Engines load the weights; core.model.hub downloads
them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from core.service.domain.engine import LongWork, unannounced
from core.service.domain.errors import ModelNotInstalled, UnknownModel, shortened
from core.service.domain.schema import DEFAULT_PROFILE, JobSpec
from core.service.engines.definition import ENGINES, EngineDefinition, default_parameters, read_preset
from core.service.engines.load_context import LoadContext
from core.service.engines.preset import PipelineDownload, Preset, ProfileDefaults
from core.service.engines.refiner import REFINER_FOLDER
from core.service.engines.tokenizer import PromptTokenizer, listed_words
from core.service.settings import Settings

CONTROLNET_FOLDER = "controlnet"
"""Folder of a weights folder with one folder per type of control video."""


class PresetFolder:
    """One preset on disk. Raises PresetError if preset.json or the tokenizer is missing or wrong."""

    def __init__(self, path: Path, settings: Settings) -> None:
        """`settings`: the folder of downloaded weights, and values that replace those of the preset."""
        self.path = path
        self._settings = settings

    @cached_property
    def preset(self) -> Preset:
        return read_preset(self.path).configured(self._settings)

    @property
    def engine(self) -> EngineDefinition[Any]:
        return ENGINES.get(self.preset.engine)

    @property
    def weights(self) -> Path:
        """The weights folder: beside preset.json, or where downloads are kept."""
        return self.path if self.preset.download is None else self._settings.weights_dir.expanduser() / self.path.name

    @property
    def installed(self) -> bool:
        """Whether the weights are installed. A downloaded folder appears only when it is complete."""
        return self.preset.download is None or self.weights.is_dir()

    @property
    def install_command(self) -> str:
        return f"longtake pull {self.path.name}"

    def pull_command(self, parts: Iterable[str] = ()) -> str:
        """Installs optional parts, and the weights if they are missing."""
        return " ".join([self.install_command, *(f"--with {part}" for part in parts)])

    @property
    def installed_parts(self) -> list[str]:
        """Names of the optional parts that are installed. Their folders appear only when they are complete."""
        download = self.preset.download
        optional = download.optional if isinstance(download, PipelineDownload) else {}
        return [name for name, source in optional.items() if (self.weights / source.into).is_dir()]

    @property
    def refiner_weights(self) -> Path:
        """The refiner's folder; it exists only if the refiner is completely installed."""
        return self.weights / REFINER_FOLDER

    @property
    def refines(self) -> bool:
        """Whether the preset has a refiner that is installed; downloaded presets have it only on request."""
        refiner = self.preset.refiner
        if refiner is None or not refiner.in_weights_folder:
            return refiner is not None  # the worker downloads it
        return self.refiner_weights.is_dir() or self.preset.download is None

    @property
    def refiner_command(self) -> str:
        """Installs the refiner, and the weights if they are missing."""
        return f"{self.install_command} --refiner"

    def require_installed(self) -> None:
        """Raises ModelNotInstalled with the missing files and the command that installs them."""
        if self.installed or self.preset.download is None:
            return
        raise ModelNotInstalled(
            f"the weights of {self.path.name} are not installed; they are made from {_origin(self.preset)}",
            field="model",
            fix=f"run `{self.install_command}`, or use another model",
        )

    def require_refiner(self) -> None:
        """Raises ModelNotInstalled with the command that installs the refiner."""
        if not self.refines:
            raise ModelNotInstalled(
                f"the refiner of {self.path.name} is not installed",
                field="refine",
                fix=f"run `{self.refiner_command}`, or leave `refine` out",
            )

    def control_weights(self, control_type: str) -> Path:
        """The folder of a ControlNet; it exists only if it is completely installed."""
        return self.weights / CONTROLNET_FOLDER / control_type

    def require_control(self, control_type: str) -> None:
        """Raises ModelNotInstalled with what installs the ControlNet, and the weights if they are missing."""
        if not self.control_weights(control_type).is_dir():
            command, folder = self.control_command(control_type), f"{CONTROLNET_FOLDER}/{control_type}"
            way = f"put its files into {folder} of the preset's folder" if command is None else f"run `{command}`"
            raise ModelNotInstalled(
                f"the ControlNet of {self.path.name} for {control_type} is not installed",
                field="control.type",
                fix=f"{way}, or leave `control` out",
            )

    def control_command(self, control_type: str) -> str | None:
        """Installs a ControlNet, and the weights if they are missing; None if there is nothing to download."""
        return None if self.preset.download is None else self.pull_command([control_type])

    @cached_property
    def tokenizer(self) -> PromptTokenizer:
        """The tokenizer of the weights. Raises ModelNotInstalled."""
        self.require_installed()
        return self.engine.tokenizer(self.engine_context().part("tokenizer").parent)

    @cached_property
    def known_words(self) -> tuple[str, ...]:
        """The words of a small vocabulary, sorted; empty where any word can be said, and where no weights are."""
        return listed_words(self.engine_context().part("tokenizer").parent)

    @property
    def shared_weights(self) -> Path | None:
        """The weights folder of the shipped preset whose parts this one shares."""
        return None if self.preset.shares is None else self.path.parent / self.preset.shares

    def engine_context(self, long_work: LongWork = unannounced) -> LoadContext[Any]:
        """The context for `EngineDefinition.load`."""
        return self._context(self.preset, long_work)

    def refiner_context(self, long_work: LongWork = unannounced) -> LoadContext[Any]:
        """The context for `RefinerDefinition.load`."""
        return self._context(self.preset.refiner, long_work)

    def _context(self, preset: Any, long_work: LongWork) -> LoadContext[Any]:
        settings = self._settings
        return LoadContext(
            preset,
            self.path,
            self.weights,
            settings.torch_threads,
            settings.torch_compile,
            long_work,
            self.shared_weights,
        )


def _origin(preset: Preset) -> str:
    """Where downloaded weights come from: repositories and size, or the few files of a conversion."""
    download = preset.download
    if isinstance(download, PipelineDownload):
        size = "" if preset.card is None else f" ({preset.card.disk_gb:g} GB)"
        return f"{', '.join(dict.fromkeys(source.repository for source in download.repositories))}{size}"
    needed = () if download is None else download.needed
    return ", ".join(f"{name} of {source.repository}" for source in needed for name in source.files)


class Catalog:
    """Presets by name. Folders are listed once; a preset is read at its first use.

    A preset of the deployment replaces one of the same name from a package.
    """

    def __init__(self, settings: Settings) -> None:
        from_packages = [engine.presets_dir for engine in ENGINES.third_party() if engine.presets_dir is not None]
        self._folders = {
            file.parent.name: PresetFolder(file.parent, settings)
            for presets_dir in (*from_packages, settings.presets_dir)
            for file in sorted(presets_dir.glob("*/preset.json"))
        }

    def names(self) -> list[str]:
        return sorted(self._folders)

    def get(self, name: str) -> PresetFolder:
        """Raises UnknownModel with the names that exist."""
        if name not in self._folders:
            known = ", ".join(self.names()) or "none installed"
            raise UnknownModel(
                f"there is no model named '{shortened(name, 64)}'", field="model", fix=f"use one of: {known}"
            )
        return self._folders[name]


def default_spec(preset: Preset, prompt: str, num_frames: int, seed: int) -> JobSpec:
    """A complete spec of a request that has only these fields."""
    defaults = preset.profile_defaults.get(DEFAULT_PROFILE, ProfileDefaults())
    return JobSpec(
        prompt=prompt,
        negative_prompt=preset.negative_prompt,
        num_frames=num_frames,
        fps=preset.fps,
        seed=seed,
        model=preset.name,
        guidance_scale=defaults.guidance_scale,
        num_inference_steps=defaults.num_inference_steps,
        profile=DEFAULT_PROFILE if "profile" in preset.capabilities.fields else None,
        first_chunk=defaults.first_chunk,
        parameters=default_parameters(preset).model_dump(mode="json"),
    )
