"""The paper's figures (published.toml), and which of its methods ours stand for.

They are of the paper's own videos: they are shown beside ours, never in one column with them, and what is compared is
the order of methods (mark.py says in words why).
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

_FILE = Path(__file__).with_name("published.toml")


@dataclass(frozen=True)
class PublishedTable:
    """One table of the paper."""

    title: str
    source: str
    protocol: str
    metrics: Sequence[str]
    rows: Mapping[str, Mapping[str, float]]
    """Figures by the paper's name of the method and metric."""


@dataclass(frozen=True)
class PublishedPrefixes:
    """StreamingT2V's figures of the first frames of each video."""

    title: str
    source: str
    frames: Sequence[int]
    curves: Mapping[str, Sequence[float]]
    """By metric, a value for each of `frames`."""


@dataclass(frozen=True)
class PublishedMetric:
    """A metric of the paper."""

    title: str
    better: Literal["lower", "higher"]
    measured_as: Sequence[str]
    """The values measured here that stand for it, the nearest first; none for metrics that are for reference."""


METRICS: Mapping[str, PublishedMetric] = {
    "mawe": PublishedMetric("MAWE", "lower", ("mawe_v2",)),
    "scuts": PublishedMetric("SCuts", "lower", ("scuts",)),
    "clip": PublishedMetric("CLIP", "higher", ("clip_score", "tower_score")),
    "motion": PublishedMetric("motion", "higher", ("ofs",)),
    "re_identification": PublishedMetric("re-identification", "higher", ()),
    "lpips": PublishedMetric("LPIPS distance", "lower", ()),
    "flow_std": PublishedMetric("deviation of the flow", "lower", ()),
}

_IMAGE_TO_VIDEO = ("I2VGen-XL", "DynamiCrafter-XL", "SEINE", "SVD")
COUNTERPARTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "streaming_t2v": {"table_1": ("StreamingT2V",)},
    "streaming_t2v_trial": {"table_1": ("StreamingT2V",)},
    "cam": {"short_term": ("CAM",)},
    "concat": {"short_term": ("Conc-Cond",)},
    "additive": {"table_1": ("SparseCtrl",), "short_term": ("Add-Cond",)},
    "last_frame_trial": {"table_1": _IMAGE_TO_VIDEO},
    "last_frame": {"table_1": _IMAGE_TO_VIDEO},
    "free_noise": {"table_1": ("FreeNoise",)},
    "sparsectrl": {"table_1": ("SparseCtrl",)},
    "i2vgen-xl": {"table_1": ("I2VGen-XL",)},
    "svd": {"table_1": ("SVD",)},
    "svd-xt": {"table_1": ("SVD",)},
}
"""By method, rows of the published tables that it stands for: the same method, or the same kind of conditioning."""
OF_A_KIND = frozenset({"streaming_t2v_trial", "cam", "concat", "additive", "last_frame_trial", "last_frame"})
"""Methods that share the kind of conditioning with their rows, and are not the methods of these rows."""


@dataclass(frozen=True)
class Ordering:
    """The method `better` is expected to be better than `worse` by a published metric."""

    better: str
    worse: str
    metric: str
    """Key of METRICS."""
    published: str
    """What is published: "StreamingT2V 52.3 against FreeNoise 1298.4 (Table 1 of the paper)"."""


@cache
def tables() -> Mapping[str, PublishedTable]:
    """All tables of the paper by key."""
    return {key: PublishedTable(**part) for key, part in _content()["tables"].items()}


@cache
def prefixes() -> PublishedPrefixes:
    """StreamingT2V over length."""
    part = dict(_content()["prefixes"])
    return PublishedPrefixes(part.pop("title"), part.pop("source"), part.pop("frames"), part)


def published_of(method: str, table: str, metric: str) -> dict[str, float]:
    """The published figures of the rows that a method stands for, by the row's name."""
    rows = tables()[table].rows
    return {name: rows[name][metric] for name in COUNTERPARTS.get(method, {}).get(table, ())}


def orderings(methods: Sequence[str]) -> list[Ordering]:
    """What the paper says of these methods. By its tables, A before B where all rows that A stands for are better than
    all rows that B stands for."""
    said: dict[tuple[str, str, str], list[str]] = {}
    for key, table in tables().items():
        for metric, better, worse in itertools.product(table.metrics, methods, methods):
            first, second = published_of(better, key, metric), published_of(worse, key, metric)
            if first and second and _all_better(list(first.values()), list(second.values()), METRICS[metric].better):
                line = f"{_listed(first)} against {_listed(second)} ({table.title})"
                said.setdefault((better, worse, metric), []).append(line)
    for claim in _content()["text"]:
        if claim["better"] in methods and claim["worse"] in methods:
            said.setdefault((claim["better"], claim["worse"], claim["metric"]), []).append(claim["said"])
    return [Ordering(*claim, "; ".join(lines)) for claim, lines in said.items()]


def _all_better(first: Sequence[float], second: Sequence[float], better: str) -> bool:
    return min(first) > max(second) if better == "higher" else max(first) < min(second)


def _listed(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in figures.items())


@cache
def _content() -> dict[str, Any]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
