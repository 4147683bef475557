"""A CLIP model of transformers: frames and texts become embeddings of one space (arXiv 2103.00020).

Shapes: T frames, D width of the embeddings, S side of the network's pictures.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from core.model.evaluation.learned.loading import digest, import_package
from core.model.sampling.device import select_device
from core.service.domain.engine import FrameHWC
from core.service.domain.errors import PresetError

DEFAULT_CLIP = "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41"
"""The paper does not state its model; this is the one that torchmetrics takes by default."""

_FILES = ("*.json", "*.txt", "model*.safetensors")
"""Of a repository, which may hold the same weights in three more formats."""
_FOLDER_FIX = "a folder holds config.json, model.safetensors and the tokenizer's files; or give a Hub name, ORG/NAME"
_COMMIT = re.compile(r"[0-9a-f]{40}")


class ClipModel:
    """A CLIP model in float32. Embeddings have unit length, so that their product is the cosine."""

    def __init__(self, name: str, network: Any, tokenizer: Any, processor: Any, device: torch.device) -> None:
        """`network`, `tokenizer`, `processor`: transformers' CLIPModel, CLIPTokenizer and CLIPImageProcessorPil."""
        self.name = name
        """Such as "openai/clip-vit-large-patch14@32bd64288804". Scores of different names do not compare."""
        self._network = network
        self._tokenizer = tokenizer
        self._processor = processor
        self._device = device

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that are read, begin and end included."""
        return int(self._network.config.text_config.max_position_embeddings)

    def num_tokens(self, text: str) -> int:
        """Begin and end included. What is beyond `max_tokens` is not read."""
        return len(self._tokenizer(text, verbose=False)["input_ids"])

    def prepare(self, frame: FrameHWC) -> Tensor:
        """A frame as the network reads it: [3, S, S], resized (bicubic), cut to the middle square, normalised.

        By Pillow on every machine, so that a score does not depend on whether torchvision is installed.
        """
        return self._processor(images=frame, input_data_format="channels_last", return_tensors="pt").pixel_values[0]

    @torch.inference_mode()
    def embed_frames(self, prepared: Sequence[Tensor]) -> Tensor:
        """Prepared frames -> [T, D] float32 on the CPU, of unit length."""
        pixels = torch.stack(list(prepared)).to(self._device)
        # transformers 5 returns an output object whose pooler_output is already projected.
        features = self._network.get_image_features(pixel_values=pixels).pooler_output
        return functional.normalize(features, dim=-1).cpu()

    @torch.inference_mode()
    def embed_text(self, text: str) -> Tensor:
        """A text, as it is written, -> [D] float32 on the CPU, of unit length."""
        tokens = self._tokenizer(text, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        features = self._network.get_text_features(
            input_ids=tokens.input_ids.to(self._device), attention_mask=tokens.attention_mask.to(self._device)
        ).pooler_output
        return functional.normalize(features, dim=-1)[0].cpu()


def load_clip(model: str = DEFAULT_CLIP, device: str | None = None) -> ClipModel:
    """A CLIP model from a folder, or from the Hub by "ORG/NAME" or "ORG/NAME@REVISION".

    Downloaded if it is not in the Hub's cache; HF_HUB_OFFLINE, HF_TOKEN and HF_ENDPOINT work as usual. A revision that
    is a commit and in the cache is taken from there, without asking the Hub. Only safetensors are read.
    `device`: None is CUDA if there is one, else the CPU. Raises PresetError.
    """
    clip: Any = import_package("transformers.models.clip.modeling_clip")
    tokenization: Any = import_package("transformers.models.clip.tokenization_clip")
    pictures: Any = import_package("transformers.models.clip.image_processing_pil_clip")
    loading: Any = import_package("core.model.networks.pretrained").loading
    fix = _fix(model)
    with loading(f"the CLIP model {model}", fix):
        folder = _folder(model)
        with _quiet():
            network, found = clip.CLIPModel.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
        tokenizer = tokenization.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        processor = _processor(pictures.CLIPImageProcessorPil, folder, network.config.vision_config.image_size)
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise PresetError(f"the CLIP model {model} lacks {len(missing)} tensors, such as {missing[0]}", fix=fix)
    place = select_device(device)
    return ClipModel(_name(folder), network.eval().requires_grad_(False).to(place), tokenizer, processor, place)


@contextmanager
def _quiet() -> Generator[None]:
    """No progress bar of transformers for some seconds of reading: the command that measures videos has its own."""
    logging: Any = import_package("transformers.utils.logging")
    was_enabled: bool = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _is_path(model: str) -> bool:
    return model.startswith((".", "/", "~")) or Path(model).is_dir()


def _fix(model: str) -> str:
    if _is_path(model):
        return _FOLDER_FIX
    repository, _, revision = model.partition("@")
    at = f" --revision {revision}" if revision else ""
    return (
        f"where there is a network: hf download {repository}{at}; elsewhere give a folder: docs/evaluation.md says how"
    )


def _folder(model: str) -> Path:
    """The model's folder, its own or the Hub cache's."""
    if _is_path(model):
        folder = Path(model).expanduser().resolve()
        if not folder.is_dir():
            raise PresetError(f"there is no folder {model}", fix=_FOLDER_FIX)
        return folder
    repository, _, revision = model.partition("@")
    hub: Any = import_package("huggingface_hub")
    wanted = {"revision": revision or None, "allow_patterns": list(_FILES)}
    cached = _cached(hub, repository, wanted) if _COMMIT.fullmatch(revision) else None
    return cached or Path(cast(str, hub.snapshot_download(repository, **wanted)))


def _cached(hub: Any, repository: str, wanted: dict[str, Any]) -> Path | None:
    """The Hub cache's folder of a commit if it is complete: then nobody need wait for a Hub that does not answer."""
    try:
        folder = Path(cast(str, hub.snapshot_download(repository, local_files_only=True, **wanted)))
    except OSError:
        return None
    has_tokenizer = (folder / "tokenizer.json").is_file() or (folder / "merges.txt").is_file()
    is_complete = has_tokenizer and (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()
    return folder if is_complete else None


def _processor(kind: Any, folder: Path, side: int) -> Any:
    """How the model's pictures are prepared: as its folder says, else as CLIP's are, at its size."""
    if (folder / "preprocessor_config.json").is_file():
        return kind.from_pretrained(folder, local_files_only=True)
    return kind(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def _name(folder: Path) -> str:
    """ "ORG/NAME@COMMIT" for a folder of the Hub's cache; others by a checksum of all that a score depends on."""
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return f"{repository.removeprefix('models--').replace('--', '/')}@{folder.name[:12]}"
    # Tokenizer and preparation of pictures change scores as weights do.
    files = {file for pattern in _FILES for file in folder.glob(pattern)}
    return f"{folder.name} (SHA-256 {digest(files)})"
