"""docs/http-reference.md and the copy of the OpenAPI document are those of the code."""

from __future__ import annotations

import re
from difflib import unified_diff
from pathlib import Path

from tests.docs.openapi_document import openapi_document, openapi_text
from tests.docs.reference_page import operations_of, reference_page
from tests.docs.schema_text import type_text

REPOSITORY = Path(__file__).resolve().parents[2]
RENEW = "if it is meant, run: .venv/bin/python -m tests.docs"


def changes_of(path: Path, now: str) -> str:
    """What differs from the stored text, as a reviewer wants to see it; empty if nothing does."""
    changed = unified_diff(path.read_text().splitlines(), now.splitlines(), path.name, "now", lineterm="", n=4)
    return "\n".join([*changed][:200])


def test_a_change_of_the_openapi_document_is_seen() -> None:
    changes = changes_of(REPOSITORY / "tests" / "unit" / "api" / "openapi.json", openapi_text())
    assert not changes, f"the OpenAPI document changed; {RENEW}\n{changes}"


def test_the_reference_page_is_the_openapi_document() -> None:
    changes = changes_of(REPOSITORY / "docs" / "http-reference.md", reference_page())
    assert not changes, f"docs/http-reference.md is not what the code says; {RENEW}\n{changes}"


def test_the_reference_page_has_every_operation_and_every_schema() -> None:
    document = openapi_document()
    headings = {*re.findall(r"^### (.+)$", reference_page(), flags=re.MULTILINE)}
    operations = {f"{method.upper()} {path}" for path, method, _ in operations_of(document["paths"])}
    assert headings == operations | {*document["components"]["schemas"]}


def test_types_of_schemas_are_said_in_words() -> None:
    said = {
        "integer (0 to 100) or null": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 100}, {"type": "null"}]},
        "list of [Chunk](#chunk) (at most 3 entries)": {
            "type": "array",
            "maxItems": 3,
            "items": {"$ref": "#/components/schemas/Chunk"},
        },
        '`"a"`, `"b"`': {"type": "string", "enum": ["a", "b"]},
        "object of string (1 to 9 characters)": {
            "type": "object",
            "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 9},
        },
        "number (above 0)": {"type": "number", "exclusiveMinimum": 0},
        "time": {"type": "string", "format": "date-time"},
    }
    assert {type_text(schema): schema for schema in said.values()} == said
