"""The report of a comparison: Table 1 beside the published one, verdicts, and texts that cannot become markup."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

import numpy as np
import pytest

from core.metrics.video.metric import VideoMetrics
from core.model.evaluation.compare.interval_plots import value_plots
from core.model.evaluation.compare.mark import mark_of
from core.model.evaluation.compare.page import page
from core.model.evaluation.compare.plan import VERSION, Plan
from core.model.evaluation.compare.prefixes import Measured, prefix_lengths
from core.model.evaluation.compare.prompt_videos import EMBEDDED_PROMPTS, prompt_videos
from core.model.evaluation.compare.prompts import papers_prompts
from core.model.evaluation.compare.report import content, markdown, one_line
from core.model.evaluation.compare.results import Results, read_results
from core.model.evaluation.compare.table_one import table_one
from core.model.evaluation.compare.workspace import Workspace, facts_of
from core.model.evaluation.compare.write import FILES, write_report
from tests.helpers.compared_methods import facts, fake_plan, fingerprint

HOSTILE = "</td><script>alert(1)</script> | `x` <img src=x onerror=alert(2)>\n# not a title"
NUM_PROMPTS = 8


def store(workspace: Workspace, plan: Plan, method: str, values: Mapping[str, list[float | None]]) -> None:
    """Finished videos of a method: grey frames, and planted values by prompt."""
    for index in range(len(plan.prompts)):
        video = plan.video(method, index)
        workspace.make(video, iter([np.full((plan.frames, 32, 32, 3), 90, np.uint8)]), 8)
        workspace.store_made(video, facts_of(video, fingerprint(method), None), 2.0 + index, 1)
        found = {name: by_prompt[index] for name, by_prompt in values.items()}
        notes = [f"{name}: nothing moves." for name, value in found.items() if value is None]
        prefixes = {length: dict(found) for length in prefix_lengths(plan.frames)}
        workspace.store_measured(
            video,
            {"flow": "dis"},
            plan.expected(method).borders,
            Measured(VideoMetrics(plan.frames, found, {}, notes, "dis"), prefixes),
        )


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Workspace]:
    """As published: MAWE of streaming_t2v below that of free_noise. The reverse: SCuts. A tie: CLIP's stand-in."""
    workspace = Workspace(tmp_path_factory.mktemp("compared"))
    prompts = [HOSTILE, *(f"prompt {index}" for index in range(1, NUM_PROMPTS))]
    plan = fake_plan(("streaming_t2v", "free_noise", "last_frame"), prompts, 40)
    plan.write(workspace.folder)
    spread = [float(index) for index in range(NUM_PROMPTS)]
    store(workspace, plan, "streaming_t2v", {
        "mawe_v2": [50 + value for value in spread], "scuts": [0.0] * NUM_PROMPTS, "tower_score": [30.0] * NUM_PROMPTS,
        "ofs": [1.0] * NUM_PROMPTS,
    })  # fmt: skip
    store(workspace, plan, "free_noise", {
        "mawe_v2": [90 + 3 * value for value in spread[:-1]] + [None], "scuts": [1.0 + value for value in spread],
        "tower_score": [30.0] * NUM_PROMPTS, "ofs": [1.0 + value % 2 for value in spread],
    })  # fmt: skip
    workspace.store_failure(plan.video("last_frame", 0), HOSTILE)
    return read_results(Plan.read(workspace.folder), workspace), workspace


def test_verdicts_of_planted_orders(compared: tuple[Results, Workspace]) -> None:
    found = {
        (finding.ordering.better, finding.ordering.worse, finding.ordering.metric): (
            finding.measured_as,
            finding.verdict,
            finding.gain.prompts,
        )
        for finding in compared[0].findings()
    }
    assert found[("streaming_t2v", "free_noise", "mawe")] == ("mawe_v2", "confirmed", NUM_PROMPTS - 1)
    assert found[("free_noise", "streaming_t2v", "scuts")] == ("scuts", "reverse", NUM_PROMPTS)
    assert found[("streaming_t2v", "free_noise", "clip")] == ("tower_score", "too few differ", NUM_PROMPTS)
    # Of 8 prompts 4 differ, all one way: chance does as much in 2 of 2**4.
    assert found[("streaming_t2v", "free_noise", "motion")] == ("ofs", "too few differ", NUM_PROMPTS)
    assert found[("streaming_t2v", "last_frame", "mawe")] == ("mawe_v2", "not measured", 0)


def test_between_unequal_trainings_there_is_no_verdict(compared: tuple[Results, Workspace]) -> None:
    results = compared[0]
    other = results.methods["free_noise"]
    trial = replace(other, facts=replace(other.facts, training="a trial's"))
    changed = replace(results, methods={**results.methods, "free_noise": trial})
    verdicts = {finding.verdict for finding in changed.findings() if "free_noise" in (finding.ordering.worse,)}
    assert verdicts == {"unequal training"}
    assert "| unequal training |" in markdown(changed)
    assert "free noise (unequal training)" in markdown(changed)


def test_ranks_are_over_the_prompts_that_all_methods_have(tmp_path: Path) -> None:
    plan, workspace = fake_plan(("streaming_t2v", "free_noise"), ["a", "b"], 32), Workspace(tmp_path)
    store(workspace, plan, "streaming_t2v", {"mawe_v2": [1.0, 100.0]})
    store(workspace, plan, "free_noise", {"mawe_v2": [2.0, None]})
    # Over all its prompts streaming_t2v would be the worse one.
    assert read_results(plan, workspace).ranks("mawe_v2") == {"streaming_t2v": 1, "free_noise": 2}


def test_seam_scores_of_other_borders_have_no_rank_difference_or_plot(tmp_path: Path) -> None:
    """A comparison of methods that begin anew at other frames says nothing about their seams."""
    other, same = ("streaming_t2v", "last_frame"), ("streaming_t2v", "concat", "free_noise")
    found: dict[tuple[str, ...], Results] = {}
    for methods in (other, same):
        plan, workspace = fake_plan(methods, ["a", "b"], 32), Workspace(tmp_path / methods[1])
        for method in methods:
            scores: list[float | None] = [None, None] if method == "free_noise" else [1.0, 2.0]  # it has no borders
            store(workspace, plan, method, {"seam_score": scores, "mawe_v2": [1.0, 1.0]})
        found[methods] = read_results(plan, workspace)
    assert found[same].ranks("seam_score") == {"streaming_t2v": 1, "concat": 1}
    assert found[other].ranks("seam_score") == {}
    assert found[other].ranks("mawe_v2") == {"streaming_t2v": 1, "last_frame": 1}
    gains = [found[two].gain(two[0], two[1], "seam_score", higher_is_better=False) for two in (other, same)]
    assert [gained.verdict for gained in gains] == ["not measured", "too few differ"]
    shown = ["Seam score" in tostring(value_plots(results), encoding="unicode") for results in found.values()]
    assert shown == [False, True]


def test_plots_over_length_have_one_axis_also_for_few_prompts(tmp_path: Path) -> None:
    plan, workspace = fake_plan(("streaming_t2v", "free_noise"), ["a", "b", "c"], 64), Workspace(tmp_path)
    store(workspace, plan, "streaming_t2v", {"mawe_v2": [1.0, 1.1, 1.2]})
    store(workspace, plan, "free_noise", {"mawe_v2": [90.0, 91.0, 95.0]})
    shown = page(read_results(plan, workspace), workspace)
    ticks = [re.findall(r'class="tick end"[^>]*>([^<]*)<', plot) for plot in re.findall(r"<svg.*?</svg>", shown)]
    of_curves = [found for found in ticks if found]
    assert len(of_curves) == 2
    assert of_curves[0] == of_curves[1]


def test_ranks_are_by_mean_and_ties_share_theirs(compared: tuple[Results, Workspace]) -> None:
    results = compared[0]
    assert results.ranks("mawe_v2") == {"streaming_t2v": 1, "free_noise": 2}
    assert results.ranks("tower_score") == {"streaming_t2v": 1, "free_noise": 1}
    assert results.ranks("ofs") == {}


def test_published_numbers_stand_beside_ours_and_are_marked(compared: tuple[Results, Workspace]) -> None:
    table = table_one(compared[0])
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(table.heads) == [
        "method", "MAWE (v2) ↓", "SCuts ↓", "own tower ↑",
        *("published MAWE ↓", "published SCuts ↓", "published CLIP ↑"),
    ]  # fmt: skip
    assert list(rows["streaming t2v"][3:]) == ["52.3", "0.04", "31.73"]
    assert rows["streaming t2v"][0].startswith("53.50 (")
    assert rows["streaming t2v"][0].endswith("rank 1")
    assert "7 videos" in rows["free noise"][0]
    assert list(rows["free noise"][3:]) == ["1298.4", "0", "31.55"]
    assert list(rows["last frame"]) == [""] * 6
    assert list(rows["SVD (published; of the kind of last frame)"]) == ["", "", "", "857.2", "1.1", "23.95"]
    assert "OpenSora v1.2 (published)" in rows
    assert len(rows) == 3 + 9 - 2
    text = markdown(compared[0])
    assert text.count("Published figures are of the paper's own videos:") == 1


def test_a_published_row_names_every_method_of_its_kind(tmp_path: Path) -> None:
    plan, workspace = fake_plan(("streaming_t2v", "last_frame_trial", "last_frame"), ["a"], 32), Workspace(tmp_path)
    rows = [row[0] for row in table_one(read_results(plan, workspace)).rows]
    assert "SEINE (published; of the kind of last frame trial and last frame)" in rows


def test_the_mark_names_what_differs_and_nothing_else(compared: tuple[Results, Workspace]) -> None:
    results = compared[0]
    assert mark_of(results) == (
        "Published figures are of the paper's own videos: each method's own model, where ours share one, other"
        " prompts, other weights, another sampling, another length, another flow, first chunks enhanced to 720x720."
    )
    plan = replace(results.plan, preset="modelscope", prompts=papers_prompts(), frames=240, profile="reference")
    by = {"flow": "raft-large (C_T_SKHT_V2)", "flow size": "720x720", "clip": "a CLIP model"}
    assert mark_of(replace(results, plan=plan, by=by)) == (
        "Published figures are of the paper's own videos: each method's own model, where ours share one, a CLIP model"
        " that the paper does not state, first chunks enhanced to 720x720."
    )
    assert "another flow" in mark_of(replace(results, plan=plan, by={**by, "flow": "raft-large (SHA-256 0123abcd)"}))


def test_the_program_readable_report_is_strict_json_with_every_figure(compared: tuple[Results, Workspace]) -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is no JSON")

    read = json.loads(json.dumps(content(compared[0])), parse_constant=refuse)
    assert read["version"] == VERSION
    assert read["methods"]["streaming_t2v"]["means"]["mawe_v2"]["value"] == 53.5
    assert read["methods"]["streaming_t2v"]["seconds_per_video"]["value"] == 5.5
    assert read["methods"]["free_noise"]["by_prompt"]["7"]["mawe_v2"] is None
    assert read["methods"]["last_frame"]["failures"] == {HOSTILE: HOSTILE}
    assert read["published"]["tables"]["table_1"]["rows"]["StreamingT2V"]["mawe"] == 52.3
    differences = {(d["first"], d["second"], d["value"]): d["difference"] for d in read["differences"]}
    assert differences[("streaming_t2v", "free_noise", "scuts")]["value"] == -4.5
    assert differences[("streaming_t2v", "last_frame", "scuts")] is None


class Tags(HTMLParser):
    """The elements of a page, and the texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_hostile_prompt_is_text_on_the_page(compared: tuple[Results, Workspace]) -> None:
    tags = Tags()
    tags.feed(page(*compared))
    assert "script" not in tags.tags
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in tags.text
    sources = [value or "" for name, value in tags.attributes if name == "src"]
    assert sources
    assert all(re.match(r"data:(video/mp4|image/jpeg);base64,|videos/[a-z0-9_]+/\d{3}\.", value) for value in sources)
    assert tags.tags.count("video") == 2 * NUM_PROMPTS


def test_a_hostile_prompt_stays_in_its_line_of_markdown(compared: tuple[Results, Workspace]) -> None:
    text = markdown(compared[0])
    assert "<script" not in text
    assert "<img" not in text
    assert "\n# not a title" not in text
    columns = [line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("| ")]
    assert set(columns) <= {5, 6, 7, 8, 9}


def test_why_a_value_is_missing_is_said_with_the_number_of_videos(compared: tuple[Results, Workspace]) -> None:
    assert f"- mawe\\_v2: nothing moves. (1 of {2 * NUM_PROMPTS} videos)" in markdown(compared[0])


def test_markup_within_a_line_is_escaped() -> None:
    assert one_line("a *b*\n# c | d <i> `e` [f](g)") == r"a \*b\* \# c \| d &lt;i&gt; \`e\` \[f\](g)"


def test_what_is_too_large_stays_beside_the_page(compared: tuple[Results, Workspace]) -> None:
    parts = list(prompt_videos(*compared, most_embedded=60_000))
    found = [addresses(part) for part in parts]
    within = [[address for address in part if address.startswith("data:")] for part in found]
    assert 0 < sum(map(len, (address for part in within for address in part))) <= 60_000
    beside = [address for part in found for address in part if not address.startswith("data:")]
    assert "videos/streaming_t2v/007.mp4" in beside
    assert "videos/streaming_t2v/007.slice.jpg" in beside
    assert all((compared[1].folder / address).is_file() for address in beside)


def test_only_the_first_prompts_are_within_the_page(compared: tuple[Results, Workspace]) -> None:
    found = [addresses(part) for part in prompt_videos(*compared)]
    assert len(found) == NUM_PROMPTS
    within = [any(address.startswith("data:") for address in part) for part in found]
    assert within == [True] * EMBEDDED_PROMPTS + [False] * (NUM_PROMPTS - EMBEDDED_PROMPTS)


def addresses(part: Element) -> list[str]:
    """Of all videos and pictures."""
    found = [node.get("src") or node.get("href") for node in part.iter() if node.tag in ("source", "img", "image")]
    return [address for address in found if address]


def test_all_files_are_written(compared: tuple[Results, Workspace]) -> None:
    write_report(*compared)
    assert all((compared[1].folder / name).stat().st_size > 500 for name in FILES)


def test_a_report_of_failures_alone_is_written(tmp_path: Path) -> None:
    workspace, plan = Workspace(tmp_path), fake_plan(("streaming_t2v",), ["a lake"])
    workspace.store_failure(plan.video("streaming_t2v", 0), "no memory")
    write_report(read_results(plan, workspace), workspace)
    assert "no memory" in (tmp_path / "compare.md").read_text()
    assert "no memory" in (tmp_path / "compare.html").read_text()


@pytest.mark.parametrize(
    ("frames", "lengths"),
    [
        (240, [120, 140, 160, 180, 200, 220, 240]),
        (220, [120, 140, 160, 180, 200, 220]),
        (100, [32, 48, 64, 80, 96, 100]),
        (48, [32, 48]),
        (16, [16]),
    ],
)
def test_prefixes_are_the_papers_or_the_ends_of_chunks(frames: int, lengths: list[int]) -> None:
    assert prefix_lengths(frames) == lengths


def test_methods_that_begin_by_themselves_are_named_as_such(compared: tuple[Results, Workspace]) -> None:
    text = markdown(compared[0])
    assert facts("free_noise").takes_first_chunk == "no"
    assert (
        "| free noise (free\\_noise) | a first chunk of its own | none that are known | the preset's | 5.50 (" in text
    )
    assert "| last frame (last\\_frame) | the given first chunk, of which it reads the last frame |" in text
