"""deploy/ asks only for metrics and labels that there are, in valid PromQL; docs/operations.md lists exactly these."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import promql_parser
import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggregateExpr, BinaryExpr, Call, Expr, Matcher, MatchOp, VectorSelector

from core.service.domain.worker_kinds import WorkerState
from core.service.settings import Settings
from tests.helpers.api_world import World, submit
from tests.helpers.fake_world import World as WorkerWorld
from tests.helpers.presets import write_fake_preset
from worker.metrics import REGISTRY
from worker.runtime.server_retry import LONGEST_PAUSE_SECONDS

REPOSITORY = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((REPOSITORY / "deploy" / "grafana" / "longtake.json").read_text())
RULES = yaml.safe_load((REPOSITORY / "deploy" / "prometheus" / "alerts.yaml").read_text())
SCRAPED = frozenset({"job", "instance", "le"})
"""Labels that Prometheus adds, and that of the buckets of histograms."""
SUFFIX = re.compile(r"_(bucket|sum|count)$")


def alerts() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    shown = [str(target["expr"]) for panel in panels() for target in panel["targets"]]
    return [*(query.replace("$__rate_interval", "5m") for query in shown), *(str(rule["expr"]) for rule in alerts())]


@cache
def documented() -> dict[str, frozenset[str]]:
    """Labels of every metric in the tables of docs/operations.md."""
    page = (REPOSITORY / "docs" / "operations.md").read_text().split("## Metrics and logs")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`longtake_.*?) \| (.*?) \|", page, flags=re.MULTILINE)
    return {
        name: frozenset(re.findall(r"`(\w+)`", labels))
        for names, labels in rows
        for name in re.findall(r"`(\w+)`", names)
    }


def told(tmp_path: Path) -> Iterator[Any]:
    """The metrics of an API and of a worker that have worked."""
    write_fake_preset(tmp_path, "fake")
    world, worker = World(Settings(presets_dir=tmp_path, default_model="fake")), WorkerWorld()
    worker.submit(num_frames=16)
    worker.work(worker.maker())
    with world.client() as api:
        submit(api)
        text = api.get("/metrics").text
    yield from text_string_to_metric_families(text)
    yield from text_string_to_metric_families(generate_latest(REGISTRY).decode())


def name_of(family: Any) -> str:
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def test_the_page_lists_every_metric_with_its_labels(tmp_path: Path) -> None:
    families = [family for family in told(tmp_path) if family.name.startswith("longtake_")]
    assert {name_of(family) for family in families} == set(documented())
    for family in families:
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == documented()[name_of(family)], sample.name


def test_most_metrics_are_on_the_dashboard() -> None:
    shown = {SUFFIX.sub("", name) for query in queries() for name in re.findall(r"longtake_\w+", query)}
    assert set(documented()) - shown == set()


def nodes_of(query: str) -> list[Expr]:
    """Every node of the query's tree. Raises ValueError if it is no PromQL."""
    return nodes_within(promql_parser.parse(query))


def nodes_within(root: Expr) -> list[Expr]:
    found = list[Expr]()
    promql_parser.walk(root, found.append)
    return found


def grouping_of(node: Expr) -> set[str]:
    """Labels of `by` and of `on`."""
    if isinstance(node, AggregateExpr):
        return set() if node.modifier is None else set(node.modifier.labels)
    matching = node.modifier.matching if isinstance(node, BinaryExpr) and node.modifier else None
    return set() if matching is None else set(matching.labels)


def selectors_in(node: Expr) -> list[VectorSelector]:
    return [each for each in nodes_within(node) if isinstance(each, VectorSelector)]


def labels_of(selector: VectorSelector) -> frozenset[str]:
    return documented().get(SUFFIX.sub("", selector.name or ""), frozenset()) | SCRAPED


def labels_made(selector: VectorSelector, node: Expr) -> set[str]:
    """Labels that a `label_replace` within `node` gives the selector's metric, from one that it has."""
    made = set[str]()
    for call in nodes_within(node):
        if isinstance(call, Call) and call.func.name == "label_replace":
            metric, written, _, source, _ = call.args
            within = [each.prettify() for each in selectors_in(metric)]
            if selector.prettify() in within and source.val in labels_of(selector):
                made.add(written.val)
    return made


def labels_that_there_are_not(query: str) -> set[str]:
    """Labels that a selector matches and its metric has not, or by which is grouped what has no such label."""
    missing = set[str]()
    for node in nodes_of(query):
        if isinstance(node, VectorSelector):
            missing |= {matcher.name for matcher in node.matchers.matchers} - labels_of(node)
        for selector in selectors_in(node):
            missing |= grouping_of(node) - labels_of(selector) - labels_made(selector, node)
    return missing


@pytest.mark.parametrize("query", queries())
def test_a_query_asks_for_metrics_and_labels_that_there_are(query: str) -> None:
    for node in nodes_of(query):
        name = SUFFIX.sub("", (node.name or "") if isinstance(node, VectorSelector) else "up")
        assert name in documented() or name == "up" or name.startswith("process_"), name
    assert labels_that_there_are_not(query) == set()


@pytest.mark.parametrize(
    ("query", "missing"),
    [
        ("sum by (lane) (rate(longtake_chunks_total[5m])) / sum by (lane) (rate(longtake_stalls_total[5m]))", {"lane"}),
        ('longtake_queued_jobs{class="high"}', {"class"}),
        ("sum(rate(longtake_stalls_total[5m])) and on (lane) longtake_lane_jobs", {"lane"}),
        ('max by (pool) (label_replace(longtake_workers, "pool", "$1", "host", "(.+)"))', {"pool"}),
        ('label_replace(longtake_workers, "pool", "$1", "model", "") and on (pool) longtake_jobs', {"pool"}),
    ],
)
def test_a_label_that_a_metric_has_not_is_found(query: str, missing: set[str]) -> None:
    assert labels_that_there_are_not(query) == missing


def labels_left(query: str) -> set[str]:
    """Labels that a legend may show: those of the groups, or where nothing is aggregated those of the metric."""
    nodes = nodes_of(query)
    if any(isinstance(node, AggregateExpr) for node in nodes):
        return set[str]().union(*map(grouping_of, nodes))
    return set[str]().union(*(labels_of(node) for node in nodes if isinstance(node, VectorSelector)))


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_legend_shows_labels_that_its_query_leaves(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        shown = set(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]))
        assert shown <= labels_left(target["expr"].replace("$__rate_interval", "5m")), target["expr"]


def test_a_legend_of_a_label_that_was_summed_away_is_found() -> None:
    assert "lane" not in labels_left("sum by (model) (rate(longtake_chunks_total[5m]))")


@pytest.mark.parametrize("broken", ["sum by (a) (rate(x[5m])", "rate(x)", "x +"])
def test_a_broken_query_is_found(broken: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        nodes_of(broken)


@pytest.mark.parametrize("query", queries())
def test_counters_are_read_as_rates(query: str) -> None:
    for name in re.findall(r"\w+_(?:total|bucket|sum|count)\b(?!\()", query):
        assert re.search(rf"(?:rate|increase)\({name}(?:{{.*?}})?\[", query), name


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Longtake[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert {"summary", "description"} == rule["annotations"].keys()
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))
    named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    grouped = set[str]().union(*map(grouping_of, nodes_of(rule["expr"])))
    assert named <= grouped or rule["expr"].startswith("up{"), "other labels are gone by then"


def test_names_of_alerts_are_unique() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len({*names}) == len(names) > 10


def takes(matcher: Matcher, value: str) -> bool:
    """Whether a selector takes samples with this value of its label."""
    if matcher.op in (MatchOp.Re, MatchOp.NotRe):
        return bool(re.fullmatch(matcher.value, value)) is (matcher.op == MatchOp.Re)
    return (matcher.value == value) is (matcher.op == MatchOp.Equal)


def counted_by(alert: str, label: str, values: Iterable[str]) -> list[set[str]]:
    """For each selector of an alert, those of `values` of a label that it takes."""
    (query,) = [rule["expr"] for rule in alerts() if rule["alert"] == alert]
    selectors = [node for node in nodes_of(query) if isinstance(node, VectorSelector)]
    return [
        {value for value in values if all(takes(one, value) for one in each.matchers.matchers if one.name == label)}
        for each in selectors
    ]


STATES = get_args(WorkerState)


def minutes_of(alert: str) -> int:
    (lasting,) = [str(rule["for"]) for rule in alerts() if rule["alert"] == alert]
    return int(lasting.removesuffix("m"))


@pytest.mark.parametrize("alert", ["LongtakeNoWorker", "LongtakePoolWithoutWorker"])
def test_a_worker_that_loads_its_weights_wakes_nobody(alert: str) -> None:
    """Those of a pool that was scaled to zero; longtake_pool_workers counts the workers that are ready or busy."""
    counted = [set(STATES)] if alert == "LongtakeNoWorker" else [set(STATES)] * 2
    assert counted_by(alert, "state", STATES)[: len(counted)] == counted, "metrics without this label"
    states, *of_pauses = counted_by(alert, "state", STATES)[len(counted) :]
    assert all(each == set(STATES) for each in of_pauses), "pauses have no state"
    assert "starting" in states
    assert not states & {"not_ready", "draining"}
    assert minutes_of(alert) >= 15, "a machine may have to start first"


def test_workers_that_start_for_ever_raise_an_alert_all_the_same() -> None:
    (query,) = [str(rule["expr"]) for rule in alerts() if rule["alert"] == "LongtakeWorkerNeverReady"]
    names = [each.name for each in nodes_of(query) if isinstance(each, VectorSelector)]
    assert names == ["longtake_pool_desired_workers", "longtake_pool_workers"]
    assert minutes_of("LongtakeWorkerNeverReady") > minutes_of("LongtakePoolWithoutWorker")


def test_answers_that_are_meant_raise_no_alert() -> None:
    failures, answers = counted_by("LongtakeApiFails", "status", ["200", "304", "404", "429", "500", "502", "503"])
    assert failures == {"500", "502"}
    assert answers > failures | {"200", "503"}


def test_media_that_cannot_be_used_raise_no_alert_of_failing_jobs() -> None:
    counted = counted_by("LongtakeJobsFail", "lane", ["prepare", "generate", "refine", "finalize"])
    assert len(counted) == 3
    assert all(lanes == {"generate", "refine", "finalize"} for lanes in counted)


def test_a_worker_on_the_cpu_is_compared_with_those_of_its_model_that_have_loaded() -> None:
    name = "LongtakeWorkerOnCpu"
    assert counted_by(name, "device", ["", "cpu", "cuda"]) == [{"cpu"}, {"cuda"}]
    assert counted_by(name, "state", ["starting", "ready", "busy", "not_ready", "draining"]) == [{"ready", "busy"}] * 2
    assert counted_by(name, "kind", ["cpu", "both", "generate", "refine"]) == [{"both", "generate", "refine"}] * 2


def test_one_worker_that_waits_for_a_server_is_enough_for_its_alert() -> None:
    """Also if each call hangs for a minute before it fails."""
    (query,) = [str(rule["expr"]) for rule in alerts() if rule["alert"] == "LongtakeServersFail"]
    found = re.fullmatch(r"sum by \(server\) \(increase\(longtake_server_retries_total\[10m\]\)\) > (\d+)", query)
    assert found is not None
    assert int(found[1]) < 600 / (60 + LONGEST_PAUSE_SECONDS)


@pytest.mark.parametrize("alert", ["LongtakeNoWorker", "LongtakeQueueOld", "LongtakeHighPriorityWaits"])
def test_a_pause_of_a_model_or_of_everything_silences_what_follows_from_it(alert: str) -> None:
    (query,) = [rule["expr"] for rule in alerts() if rule["alert"] == alert]
    kinds = [
        takes(matcher, "model") - takes(matcher, "all")
        for node in nodes_of(query)
        if isinstance(node, BinaryExpr) and str(node.op) == "unless"
        for selector in selectors_in(node.rhs)
        if selector.name == "longtake_paused"
        for matcher in selector.matchers.matchers
    ]
    assert sorted(kinds) == [-1, 1]


def test_panels_have_names_of_their_own_and_places_that_do_not_overlap() -> None:
    titles = [panel["title"] for panel in panels()]
    assert len({*titles}) == len(titles) > 15
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len({*ids}) == len(ids)
    taken = set[tuple[int, int]]()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
