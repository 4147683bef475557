"""docs/evaluation.md says of each value what the code says of it."""

from __future__ import annotations

from pathlib import Path

from core.metrics.video.facts import FACTS


def facts_table() -> str:
    """The table of the section "Metrics of any video"."""
    rows = [
        f"| `{name}` | {fact.title} | {fact.meaning} | {fact.better or ''} | {fact.source} |"
        for name, fact in FACTS.items()
    ]
    return "\n".join(["| value | called | meaning | better | source |", "|---|---|---|---|---|", *rows])


def test_the_table_is_that_of_the_facts(repository: Path) -> None:
    table = facts_table()
    assert table in (repository / "docs" / "evaluation.md").read_text(), f"docs/evaluation.md needs:\n{table}"
