"""`results`: two videos with hostile texts, and what was wrong with others."""

from __future__ import annotations

import pytest

from core.metrics.evaluation.means import means_over_videos
from core.metrics.evaluation.results import Problem, Results, VideoResult
from core.service.domain.schema import PromptChange
from tests.helpers.evaluated import facts, measured

HOSTILE = "<script>alert('x')</script> | *bold* [a](b) `c`"


@pytest.fixture
def results() -> Results:
    found = [measured(ofs=1.0, scuts=2), measured(ofs=3.5, scuts=None, curve=(3.0, None, 4.0))]
    videos = [
        VideoResult(
            name=f"{number} {HOSTILE}",
            path="x",
            job_id=None,
            variant=None,
            prompt=HOSTILE,
            prompt_changes=(PromptChange(start_frame=16, text=HOSTILE),),
            file=facts(str(number)),
            measured=each.model_copy(update={"notes": ("A note.", f"Of {number}.")}),
        )
        for number, each in enumerate(found)
    ]
    return Results(
        longtake_version="1.2.3",
        metrics_version=1,
        options={"size": 720, "flow": "dis"},
        means=tuple(means_over_videos(found, ["scuts", "ofs"])),
        videos=tuple(videos),
        problems=(Problem(input=HOSTILE, kind="unreadable", text=HOSTILE, is_skipped=True),),
    )
