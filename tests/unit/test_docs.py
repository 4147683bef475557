"""The documentation agrees with the code: settings, verbs, commands, endpoints, tests and links exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.app import create_app
from api.http.problems import documented_errors, kind_of
from cli.main import COMMANDS
from core.service.domain.schema import JobRequest, WarningCode
from core.service.settings import Settings
from tests.docs.settings_page import HEADINGS, settings_page

REPOSITORY = Path(__file__).resolve().parents[2]
API_PAGE = (REPOSITORY / "docs" / "http-api.md").read_text()
README = (REPOSITORY / "README.md").read_text()
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def make_targets() -> set[str]:
    makefile = (REPOSITORY / "Makefile").read_text()
    return set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))


def test_the_settings_page_is_the_settings_class() -> None:
    page = (REPOSITORY / "docs" / "settings.md").read_text()
    assert page == settings_page(), "run: .venv/bin/python -m tests.docs"


def test_every_setting_is_below_a_heading() -> None:
    assert next(iter(HEADINGS)) == next(iter(Settings.model_fields))
    assert set(HEADINGS) <= set(Settings.model_fields)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_verbs_and_commands_named_in_documents_exist(document: Path) -> None:
    text = document.read_text()
    verbs = re.findall(r"(?:^|&& )make ([a-z][a-z-]*)(?=[ `\n])", text_of_code(text), re.MULTILINE)
    assert set(verbs) <= make_targets()
    named = set(re.findall(r"\blongtake ([a-z]+)\b", text_of_code(text)))
    assert named <= {command.NAME for command in COMMANDS}


def text_of_code(text: str) -> str:
    """Code spans and fenced blocks only: prose may say "make sure"."""
    fenced = re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)
    prose = re.sub(r"```\w*\n.*?```", "", text, flags=re.DOTALL)
    return "\n".join([*fenced, *(f"{span}\n" for span in re.findall(r"`([^`]+)`", prose))])


def test_every_verb_and_every_command_has_its_row() -> None:
    contributing = (REPOSITORY / "CONTRIBUTING.md").read_text()
    assert [verb for verb in sorted(make_targets() - {"help"}) if f"| `make {verb}` |" not in contributing] == []
    assert [command.NAME for command in COMMANDS if f"| `longtake {command.NAME}` |" not in README] == []


def test_readme_and_house_rules_stay_short() -> None:
    assert len(README.splitlines()) <= 150
    assert len((REPOSITORY / "CONTRIBUTING.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


def anchors_of(document: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_to_headings_lead_to_headings(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", document.read_text())
    pages = [((document.parent / path) if path else document, anchor) for path, anchor in links]
    assert [anchor for page, anchor in pages if anchor not in anchors_of(page)] == []


def test_places_of_the_architecture_page_exist() -> None:
    """Every path of the page; a module can be named without .py, as it may become a package."""
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    tops = "api|worker|core|client|cli|setup|tests|benchmarks|docs"
    places = re.findall(rf"`((?:{tops})/[\w./-]*)`", page)
    assert len(places) >= 80
    assert [place for place in places if not any((REPOSITORY / f"{place}{end}").exists() for end in ("", ".py"))] == []
    changes = page.split("## I want to change X")[1]
    assert len(re.findall(r"^\| ", changes, flags=re.MULTILINE)) >= 22


def test_the_api_page_names_every_error_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (.*) \|$", API_PAGE.split("## Errors")[1], flags=re.MULTILINE)
    named = {(int(status), code) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    assert named == {(kind_of(error).status, code) for code, error in documented_errors().items()}


def test_the_api_page_names_every_endpoint() -> None:
    named = set(re.findall(r"^\| `([A-Z]+) (/[^`]*)` \|", API_PAGE, flags=re.MULTILINE))
    paths = create_app().openapi()["paths"]
    real = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert named == {(method, path) for method, path in real if not path.startswith("/problems")}


def test_the_api_page_names_every_field_of_a_request() -> None:
    section = API_PAGE.split("## A request")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE) == list(JobRequest.model_fields)


def test_the_api_page_names_every_warning_of_a_request() -> None:
    section = API_PAGE.split("## Warnings")[1].split("\n## ")[0]
    assert {*WarningCode} <= {*re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_settings_named_in_documents_exist(document: Path) -> None:
    named = set(re.findall(r"\bLONGTAKE_([A-Z0-9_]*[A-Z0-9])", document.read_text()))
    assert named <= {name.upper() for name in Settings.model_fields} | {"URL", "KEY"}  # these two: of the command line


def promises() -> list[str]:
    """Rows of the table of promises, headings between them left out."""
    section = (REPOSITORY / "docs" / "operations.md").read_text().split("## Promises")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| what holds")]
    return [row for row in rows if not row.startswith("| **")]


def names_in(file_name: str) -> set[str]:
    """Names of all tests in files of this name."""
    files = (REPOSITORY / "tests").rglob(file_name)
    return {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}


def test_every_promise_names_tests_that_exist() -> None:
    rows = promises()
    assert len(rows) >= 40
    for row in rows:
        file_names = re.findall(r"`(test_\w+\.py)::", row)
        named = re.findall(r"`(?:test_\w+\.py::)?(test_\w+)`", row)
        assert named, f"no test in: {row}"
        assert {*named} <= {name for file_name in file_names for name in names_in(file_name)}, row


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_tests_named_in_documents_exist(document: Path) -> None:
    for file_name, name in re.findall(r"`(test_\w+\.py)::(test_\w+)`", document.read_text()):
        assert name in names_in(file_name), name
