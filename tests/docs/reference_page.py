"""docs/http-reference.md, made from the OpenAPI document: every operation, error code, webhook and schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from api.http.problems import documented_errors, kind_of
from tests.docs.openapi_document import openapi_document
from tests.docs.schema_text import Schema, cell, link_to, names_in, type_text

INTRODUCTION = """\
# HTTP reference

Every operation, error code, webhook and schema. [http-api.md](http-api.md) is the overview, with examples that run. A
running service shows the same at `/docs`; the document for machines (OpenAPI 3.1) is at `/openapi.json`.

This page is generated from the OpenAPI document by `.venv/bin/python -m tests.docs`.
"""
PROBLEM = "application/problem+json"
WIDTH = 110
"""Examples up to this length are on one line."""


def reference_page() -> str:
    """The whole page."""
    document = openapi_document()
    schemas: dict[str, Schema] = document["components"]["schemas"]
    sent = sent_schemas(document)
    operations = [(f"{method.upper()} {path}", each) for path, method, each in operations_of(document["paths"])]
    parts = [
        INTRODUCTION,
        "## Operations\n",
        _table(("operation", "what"), [(_link(name), each["summary"]) for name, each in operations]),
        *(_operation(name, each) for name, each in operations),
        "## Error codes\n",
        "`code` of a [Problem](#problem). An operation answers with the codes of its statuses that concern it.\n",
        _error_codes(),
        "## Webhooks\n",
        _webhooks(document["webhooks"]),
        "## Schemas\n",
        *(_schema(name, schemas[name], is_sent=name in sent) for name in sorted(schemas)),
    ]
    return "\n".join(parts)


def operations_of(paths: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation), in the document's order."""
    for path, methods in paths.items():
        for method, operation in methods.items():
            yield path, method, operation


def sent_schemas(document: dict[str, Any]) -> set[str]:
    """Names of the schemas of what clients send: bodies, and all that these refer to."""
    schemas = document["components"]["schemas"]
    bodies = [each.get("requestBody") for _, _, each in operations_of(document["paths"])]
    found, waiting = set[str](), [*names_in(bodies)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += names_in(schemas[name])
    return found


def _operation(name: str, operation: dict[str, Any]) -> str:
    parts = [f"### {name}\n", f"{operation['summary']}.\n"]
    if "description" in operation:
        parts.append(f"{operation['description']}\n")
    if operation.get("parameters"):
        parts.append(_parameters(operation["parameters"]))
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(_body(media_type, content))
    parts.append(
        _table(("answer", "body", "when"), [_answer(*each) for each in sorted(operation["responses"].items())])
    )
    return "\n".join(parts)


def _parameters(parameters: Sequence[dict[str, Any]]) -> str:
    rows = [
        (f"`{each['name']}`", each["in"], type_text(each["schema"]), _default_of(each), each.get("description", ""))
        for each in parameters
    ]
    return _table(("parameter", "in", "type", "default", "meaning"), rows)


def _default_of(parameter: dict[str, Any]) -> str:
    return _default(parameter["schema"], parameter.get("required", False))


def _body(media_type: str, content: dict[str, Any]) -> str:
    examples = [
        f"{each['summary']}:\n\n```json\n{_json(each['value'])}\n```\n" for each in content.get("examples", {}).values()
    ]
    return "\n".join([f"Body, `{media_type}`: {_shown(content['schema'])}.\n", *examples])


def _shown(schema: Schema) -> str:
    """The type of a body; fields of one that has no name."""
    fields = schema.get("properties")
    if "$ref" in schema or not fields:
        return type_text(schema)
    return "an object with " + ", ".join(f"`{name}` ({type_text(field)})" for name, field in fields.items())


def _answer(status: str, answer: dict[str, Any]) -> tuple[str, str, str]:
    kinds = answer.get("content", {})
    bodies = [
        link_to("Problem") if each == PROBLEM else f"`{each}`: {_sent(content)}" for each, content in kinds.items()
    ]
    said = answer["description"]
    return (
        status,
        "; ".join(bodies) or "none",
        HTTPStatus(int(status)).phrase if said == "Successful Response" else said,
    )


def _sent(content: dict[str, Any]) -> str:
    """The type of an answer's body; of an event stream that of the JSON in each event's data."""
    if "itemSchema" in content:
        return f"events, whose data is {type_text(content['itemSchema']['properties']['data']['contentSchema'])}"
    return type_text(content.get("schema", {}))


def _error_codes() -> str:
    errors = sorted(documented_errors().items(), key=lambda found: (kind_of(found[1]).status, found[0]))
    rows = [(str(kind_of(error).status), f"`{code}`", _first_line(error)) for code, error in errors]
    return _table(("status", "code", "what"), rows)


def _first_line(error: type[Exception]) -> str:
    return (error.__doc__ or "").strip().partition("\n")[0]


def _webhooks(webhooks: dict[str, Any]) -> str:
    """One table of events; the request is the same for each."""
    first = next(iter(webhooks.values()))["post"]
    rows = [(f"`{event}`", methods["post"]["summary"]) for event, methods in webhooks.items()]
    bodies = [_body(*each) for each in first["requestBody"]["content"].items()]
    return "\n".join(
        [f"{first['description']}\n", _table(("event", "when"), rows), _parameters(first["parameters"]), *bodies]
    )


def _schema(name: str, schema: Schema, *, is_sent: bool) -> str:
    parts = [f"### {name}\n"]
    if "description" in schema:
        parts.append(f"{schema['description']}\n")
    if "properties" not in schema:
        return "\n".join([*parts, f"{type_text(schema)}\n"])
    headings = ("field", "type", *(("default",) if is_sent else ()), "meaning")
    required = schema.get("required", [])
    rows = [
        (f"`{each}`", type_text(field), *((_default(field, each in required),) if is_sent else ()),
         field.get("description", ""))
        for each, field in schema["properties"].items()
    ]  # fmt: skip
    return "\n".join([*parts, _table(headings, rows)])


def _default(schema: Schema, is_required: bool) -> str:
    return (
        "required" if is_required else f"`{json.dumps(schema['default'])}`" if schema.get("default") is not None else ""
    )


def _json(value: object) -> str:
    short = json.dumps(value, ensure_ascii=False)
    return short if len(short) <= WIDTH else json.dumps(value, indent=2, ensure_ascii=False)


def _link(heading: str) -> str:
    """A link to a heading of this page, whose anchor is made as GitHub makes it."""
    kept = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in "-_ ")
    return f"[`{heading}`](#{kept.replace(' ', '-')})"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(cell(each) for each in line)} |\n" for line in lines)
