"""The example clip of the presets with control and editing: a red square that circles over dots, 48 frames.

python -m core.model.training.sprites.example_clip core/model/presets/sprites/example.mp4
"""

from __future__ import annotations

import sys
from pathlib import Path

from core.model.training.sprites.rendering import render
from core.model.training.sprites.world import FPS, PACES, Scene, Sprite
from core.service.domain.engine import FramesTHWC
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.video.final_video import join_chunks
from core.service.video.segments import encode_chunk

NUM_FRAMES = 48
SCENE = Scene(
    "dotted",
    (Sprite("square", "red", "circling", "normal", 13.5, PACES["normal"], 32.0, 32.0, 0.0, "rings", 0.0, 1.0),),
)


def example_clip(num_frames: int = NUM_FRAMES) -> FramesTHWC:
    """Its first frames, uint8 [T, 64, 64, 3]."""
    return render(SCENE, num_frames)


def main(path: Path) -> None:
    """Write the clip as MP4."""
    frames = example_clip()
    path.parent.mkdir(parents=True, exist_ok=True)
    firsts = range(0, NUM_FRAMES, CHUNK_FRAMES)
    join_chunks(
        (encode_chunk(frames[first : first + CHUNK_FRAMES], FPS, i, first).data for i, first in enumerate(firsts)), path
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
