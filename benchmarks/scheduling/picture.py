"""`python -m benchmarks.scheduling.picture`: draws docs/images/scheduling.svg, the six jobs under two policies.

The chunks are those of the simulator, with fixed seconds instead of recorded ones, so that the picture changes only
with the policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from benchmarks.scheduling.policies import Ours, Scheduler, TurnTaking
from benchmarks.scheduling.simulator import Outcome, simulate
from benchmarks.scheduling.workload import SimulatedJob
from core.service.domain.priority import Priority
from core.service.domain.scheduling import Policy

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "scheduling.svg"
JOBS = 6
CHUNK_SECONDS = (3.0, 4.5, 4.5, 4.5)
LEFT, RIGHT, ROW, GAP, TOP = 90, 860, 24, 70, 64
SECONDS = JOBS * sum(CHUNK_SECONDS)
WIDTH = 1000
STYLE = """
  .page{fill:#ffffff;stroke:#d0d7de}
  .chunk{fill:#ddf4ff;stroke:#0969da}
  .first{fill:#fff8c5;stroke:#9a6700}
  text{font-family:-apple-system,"Segoe UI","DejaVu Sans",Helvetica,Arial,sans-serif;font-size:13px;fill:#1f2328}
  .name{font-weight:600;font-size:16px}
  .line{stroke:#d0d7de}
  @media (prefers-color-scheme: dark){
    .page{fill:#0d1117;stroke:#30363d}
    .chunk{fill:#0c2d4a;stroke:#58a6ff}
    .first{fill:#34290a;stroke:#d29922}
    text{fill:#e6edf3}
    .line{stroke:#30363d}
  }
"""


def jobs() -> list[SimulatedJob]:
    """Six equal jobs of one key, almost at once."""
    return [SimulatedJob(f"job {n + 1}", "", Priority.NORMAL, 0.01 * n, CHUNK_SECONDS) for n in range(JOBS)]


def svg() -> str:
    """The picture."""
    height = TOP + 2 * JOBS * ROW + GAP + 40
    second = TOP + JOBS * ROW + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title">',
        '<title id="title">Six jobs on one worker: in turns all end late, one after the other most end early</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="12"/>',
        *_panel("In turns, chunk by chunk", TurnTaking(), TOP),
        *_panel("Begun jobs are finished first", Ours(Policy(), {}), second),
        f'<text x="{LEFT}" y="{height - 14}">one worker, a chunk of 2 s takes 4.5 s; yellow: first chunks; right: '
        "seconds until the whole video</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(title: str, policy: Scheduler, top: int) -> Sequence[str]:
    outcome = simulate(jobs(), 1, policy)
    ends = [job.committed_at[-1] for job in outcome.jobs]
    lines = [f'<text class="name" x="{LEFT}" y="{top - 14}">{title}: {mean(ends):.0f} s on average</text>']
    for number, job in enumerate(outcome.jobs):
        y = top + number * ROW
        lines.append(f'<text x="24" y="{y + 16}">{job.id}</text>')
        lines.append(f'<line class="line" x1="{LEFT}" y1="{y + ROW}" x2="{RIGHT}" y2="{y + ROW}"/>')
        lines.append(f'<text x="{RIGHT + 20}" y="{y + 16}">{job.committed_at[-1]:.0f} s</text>')
    return [*lines, *_chunks(outcome, top)]


def _chunks(outcome: Outcome, top: int) -> Sequence[str]:
    scale, rows = (RIGHT - LEFT) / SECONDS, {job.id: n for n, job in enumerate(outcome.jobs)}
    return [
        f'<rect class="{"first" if piece.ended_at == piece.job.committed_at[0] else "chunk"}"'
        f' x="{LEFT + scale * piece.started_at:.1f}" y="{top + rows[piece.job.id] * ROW + 4}"'
        f' width="{scale * (piece.ended_at - piece.started_at):.1f}" height="{ROW - 8}" rx="3"/>'
        for piece in outcome.pieces
    ]


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
