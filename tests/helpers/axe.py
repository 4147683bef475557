"""axe-core (Deque Systems, Mozilla Public License 2.0): what of a page is wrong for people with disabilities."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

from tests.helpers.npm import file_of_npm

AXE = "axe-core@4.14.1"
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def rules_of_axe(folder: Path) -> str:
    """The library's text. Skips the test, with its reason, where it cannot be had."""
    return file_of_npm(AXE, "axe.min.js", folder).read_text(encoding="utf-8")


def faults_of(page: Page, rules: str) -> list[str]:
    """What axe finds in the page as it is now, one text for each place."""
    page.evaluate(f"() => {{ {rules}; }}")
    found = page.evaluate("standards => axe.run(document, {runOnly: standards})", STANDARDS)
    return [
        f"{fault['id']} ({fault['impact']}): {node['html'][:160]} {node['failureSummary'][:200]}"
        for fault in found["violations"]
        for node in fault["nodes"]
    ]
