"""Files that samples leave in a stage's folder."""

from pathlib import Path

import numpy as np

from core.model.training import samples
from core.service.video.decode import decode_frames


def test_samples_are_written_as_a_sheet_and_a_video(tmp_path: Path) -> None:
    rows = [
        samples.Row("long", np.zeros((20, 32, 32, 3), np.uint8)),
        samples.Row("large", np.ones((4, 48, 48, 3), np.uint8)),
    ]
    samples.file_sampler(tmp_path, 8, lambda: rows)(7)
    assert decode_frames(tmp_path / "samples/00000007.mp4").shape == (20, 48, 80, 3)
    assert (tmp_path / "samples/00000007.png").is_file()
