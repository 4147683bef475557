"""The published figures, typed here a second time, and the orders that follow from them."""

import pytest

from core.model.evaluation.compare.published import (
    COUNTERPARTS,
    METRICS,
    OF_A_KIND,
    Ordering,
    orderings,
    prefixes,
    published_of,
    tables,
)

# MAWE, SCuts, CLIP of arXiv 2403.14773v2.
TABLE_1 = {
    "SparseCtrl": (6069.7, 5.48, 29.32),
    "I2VGen-XL": (2846.4, 0.40, 27.28),
    "DynamiCrafter-XL": (176.7, 1.30, 27.79),
    "SEINE": (718.9, 0.28, 30.13),
    "SVD": (857.2, 1.10, 23.95),
    "FreeNoise": (1298.4, 0, 31.55),
    "OpenSora v1.2": (1165.7, 0.16, 31.54),
    "OpenSoraPlan v1.2": (72.9, 0.24, 29.34),
    "StreamingT2V": (52.3, 0.04, 31.73),
}
METHODS = [
    *("streaming_t2v", "cam", "concat", "additive"),
    *("last_frame_trial", "last_frame", "free_noise", "text2video_zero"),
]


def test_table_1_is_complete() -> None:
    rows = tables()["table_1"].rows
    assert {name: (row["mawe"], row["scuts"], row["clip"]) for name, row in rows.items()} == TABLE_1


def test_the_ablations_are_complete() -> None:
    assert tables()["short_term"].rows == {
        "Conc-Cond": {"scuts": 0.24}, "Add-Cond": {"scuts": 0.284}, "CAM": {"scuts": 0.03},
    }  # fmt: skip
    assert tables()["identity"].rows == {
        "without APM": {"re_identification": 93.42, "lpips": 0.192},
        "with APM": {"re_identification": 94.95, "lpips": 0.151},
    }
    assert [row["flow_std"] for row in tables()["seams"].rows.values()] == [8.72, 6.01, 3.32]


def test_the_values_over_length_are_complete() -> None:
    assert list(prefixes().frames) == [120, 140, 160, 180, 200, 220]
    assert prefixes().curves == {
        "mawe": [43.25, 46.92, 46.79, 45.79, 45.84, 45.84],
        "clip": [32.45, 32.30, 32.16, 32.02, 31.89, 31.79],
    }


def test_every_table_says_where_it_is_from_and_has_all_its_metrics() -> None:
    for table in tables().values():
        assert "2403.14773" in table.source
        assert table.protocol
        assert all(set(row) == set(table.metrics) <= set(METRICS) for row in table.rows.values())


def test_every_counterpart_exists() -> None:
    for method, by_table in COUNTERPARTS.items():
        for table, rows in by_table.items():
            assert set(rows) <= set(tables()[table].rows), method
    assert set(COUNTERPARTS) >= OF_A_KIND


def found(better: str, worse: str, metric: str) -> Ordering | None:
    return next((o for o in orderings(METHODS) if (o.better, o.worse, o.metric) == (better, worse, metric)), None)


@pytest.mark.parametrize(
    ("better", "worse", "metric"),
    [
        ("streaming_t2v", "free_noise", "mawe"),
        ("streaming_t2v", "last_frame", "mawe"),
        ("streaming_t2v", "last_frame_trial", "mawe"),
        ("last_frame_trial", "additive", "scuts"),
        ("streaming_t2v", "additive", "mawe"),
        ("streaming_t2v", "free_noise", "clip"),
        ("free_noise", "streaming_t2v", "scuts"),  # 0 against 0.04
        ("cam", "concat", "scuts"),
        ("cam", "additive", "scuts"),
        ("concat", "additive", "scuts"),
        ("streaming_t2v", "free_noise", "motion"),
    ],
)
def test_orders_of_the_paper_are_expected(better: str, worse: str, metric: str) -> None:
    assert found(better, worse, metric) is not None
    assert found(worse, better, metric) is None


def test_an_order_that_holds_for_some_of_the_counterparts_only_is_not_expected() -> None:
    # FreeNoise's MAWE is worse than SVD's and better than I2VGen-XL's: both are of the kind of last_frame.
    assert found("last_frame", "free_noise", "mawe") is None
    assert found("free_noise", "last_frame", "mawe") is None


def test_both_last_frame_methods_stand_for_the_same_models_and_have_no_order_between_them() -> None:
    def expected_of(name: str) -> set[tuple[str, str, str, str]]:
        return {
            (o.better.replace(name, "it"), o.worse.replace(name, "it"), o.metric, o.published)
            for o in orderings(["streaming_t2v", "additive", "free_noise", name])
        }

    assert expected_of("last_frame_trial") == expected_of("last_frame")
    assert orderings(["last_frame_trial", "last_frame"]) == []


def test_the_row_without_apm_stands_for_cam_alone_and_not_for_a_method_with_apm() -> None:
    order = found("cam", "additive", "scuts")
    assert order is not None
    assert order.published == "CAM 0.03 against Add-Cond 0.284 (The paper's ablation of short-term conditioning)"
    with_apm = orderings(["streaming_t2v", "streaming_t2v_trial", "concat"])
    assert [order for order in with_apm if order.metric == "scuts"] == []


def test_what_the_text_says_is_of_methods_that_it_names() -> None:
    said = [(order.better, order.worse) for order in orderings(METHODS) if order.metric == "motion"]
    assert said == [("streaming_t2v", "free_noise")]


def test_methods_that_are_not_in_the_paper_have_no_order() -> None:
    assert orderings(["text2video_zero", "my-preset"]) == []
    assert published_of("my-preset", "table_1", "mawe") == {}
