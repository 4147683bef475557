"""results.json and results.md."""

from __future__ import annotations

import json

from core.metrics.evaluation.results import Results
from core.metrics.reports.markdown import as_markdown, means_table
from core.metrics.reports.titles import text_of
from core.metrics.video.facts import FACTS


def test_a_table_names_the_flow_and_how_many_videos_answered(results: Results) -> None:
    heads, _, cuts, flow = (
        [cell.strip() for cell in row.strip("|").split("|")] for row in means_table(results, FACTS).splitlines()
    )
    assert heads == ["metric", "mean", "95 % interval", "videos", "better"]
    assert cuts == ["SCuts, dis", "2.00", "-", "1", "lower"]
    assert flow == ["OFS, dis", "2.250", "-", "2", "-"]


def test_values_have_the_decimals_of_their_fact() -> None:
    told = [text_of(value, "ofs", FACTS) for value in (1.23456, -0.0001, 2, None)]
    assert told == ["1.235", "0.000", "2", "-"]


def test_hostile_texts_are_escaped(results: Results) -> None:
    text = as_markdown(results, FACTS, ["About *flow*."])
    assert "<script" not in text.replace("\\<script", "")
    assert r"\<script\>alert('x')\</script\> \| \*bold\* \[a\](b) \`c\`" in text
    rows = [line for line in text.split("## Videos")[1].splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {6}


def test_notes_are_told_once(results: Results) -> None:
    notes = as_markdown(results, FACTS, ["About *flow*."]).split("## Notes")[1].split("##")[0]
    assert "- all videos: A note." in notes
    assert notes.count("A note.") == 1
    assert "Of 1." in notes


def test_the_page_says_what_made_the_numbers(results: Results) -> None:
    told = as_markdown(results, FACTS, ["About *flow*."]).splitlines()[2]
    assert told == (
        "2 videos, 48 frames. Longtake 1.2.3, metrics version 1; optical flow: dis at 720x720 pixels; no networks."
    )


def test_the_json_can_be_read_again_and_has_a_version(results: Results) -> None:
    text = results.model_dump_json()
    assert Results.model_validate_json(text) == results
    assert json.loads(text)["schema_version"] == 1
    newer = {**json.loads(text), "added_later": 1}
    assert Results.model_validate(newer) == results


def test_a_single_video_has_values(results: Results) -> None:
    alone = results.model_copy(update={"videos": results.videos[:1]})
    text = as_markdown(alone, FACTS, [])
    assert text.splitlines()[2].startswith("1 video, 24 frames.")
    assert "## Values" in text
    heads, _, cuts, *_ = means_table(alone, FACTS).splitlines()
    assert [cell.strip() for cell in heads.strip("|").split("|")] == ["metric", "value", "better"]
    assert [cell.strip() for cell in cuts.strip("|").split("|")] == ["SCuts, dis", "2", "lower"]


def test_what_readers_need_stands_before_the_values(results: Results) -> None:
    before, _, after = as_markdown(results, FACTS, ["About *flow*."]).partition("| metric")
    assert before.endswith("## Means\n\nAbout \\*flow\\*.\n\n")
    assert "from 5 videos on" in after
