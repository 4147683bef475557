"""A browser is opened only where somebody sees it."""

from __future__ import annotations

import sys
import webbrowser

import pytest

from cli.output.browser import has_windows, open_page

URL = "http://127.0.0.1:8000/"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a browser is asked to show, on a desktop with a terminal."""
    urls = list[str]()

    def show(url: str) -> bool:
        urls.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", show)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    return urls


def test_a_desktop_shows_it(asked: list[str]) -> None:
    assert open_page(URL)
    assert asked == [URL]


def test_a_script_shows_nothing(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert not open_page(URL)
    assert asked == []


def test_a_browser_that_cannot_start_stops_nothing(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> bool:
        raise webbrowser.Error

    monkeypatch.setattr(webbrowser, "open", fail)
    assert not open_page(URL)
    assert asked == []


@pytest.mark.parametrize(
    ("platform", "environment", "has"),
    [
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":10", "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}, False),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}, False),
    ],
)
def test_windows_are_where_the_session_has_them(platform: str, environment: dict[str, str], has: bool) -> None:
    assert has_windows(platform, environment) is has
