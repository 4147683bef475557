"""The header Prefer (RFC 7240): what is heeded, and that all else is ignored."""

from __future__ import annotations

import pytest

from api.http.prefer import Preferences, preferences_of


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([], Preferences()),
        (["wait=10"], Preferences(10)),
        (["WAIT=10"], Preferences(10)),
        (['wait="10"'], Preferences(10)),
        (["wait = 10"], Preferences(10)),
        (["respond-async, wait=10"], Preferences(10, respond_async=True)),
        (["respond-async", "wait=10"], Preferences(10, respond_async=True)),
        (["Respond-Async"], Preferences(0, respond_async=True)),
        (["return=minimal; foo=bar, wait=10; x=y"], Preferences(10)),
        (["wait=10, wait=20"], Preferences(10)),
        (["wait=100"], Preferences(60)),
        (["wait=0"], Preferences()),
        (["wait=-1"], Preferences()),
        (["wait=1.5"], Preferences()),
        (["wait=99999999999999999999"], Preferences()),
        (["wait=\u0661"], Preferences()),
        (["wait"], Preferences()),
        ([""], Preferences()),
        (["handling=lenient"], Preferences()),
        ([", ,;,=,"], Preferences()),
        (["a" + " " * 30_000 + "x, wait=10"], Preferences(10)),
    ],
)
def test_what_a_header_asks_for(values: list[str], wanted: Preferences) -> None:
    assert preferences_of(values, most_seconds=60) == wanted


def test_what_was_heeded_is_said() -> None:
    assert Preferences().applied(waited=True) == {}
    assert Preferences(10).applied(waited=True) == {"Preference-Applied": "wait=10"}
    assert Preferences(10).applied(waited=False) == {}
    both = Preferences(10, respond_async=True)
    assert both.applied(waited=True) == {"Preference-Applied": "respond-async, wait=10"}
    assert both.applied(waited=False) == {"Preference-Applied": "respond-async"}
