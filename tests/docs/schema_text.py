"""JSON Schemas of the OpenAPI document in words, for tables of Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
_BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "above {}",
    "exclusiveMaximum": "below {}",
}
_SIZES = {"string": ("Length", "characters"), "array": ("Items", "entries"), "object": ("Properties", "entries")}


def type_text(schema: Schema) -> str:
    """What a value can be: `integer (0 to 100) or null`, `list of [Chunk](#chunk)`, `string`."""
    if "$ref" in schema:
        return link_to(name_of(schema["$ref"]))
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(type_text(choice) for choice in choices))
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{json.dumps(value)}`" for value in values)
    limits = ", ".join(_limits(schema))
    return f"{_base(schema)} ({limits})" if limits else _base(schema)


def name_of(reference: str) -> str:
    """`Job` of `#/components/schemas/Job`."""
    return reference.rpartition("/")[2]


def link_to(name: str) -> str:
    """A link to the schema's heading on the same page."""
    return f"[{name}](#{name.lower()})"


def names_in(node: object) -> Iterator[str]:
    """Names of the schemas that `node` refers to, directly."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from [name_of(value)] if key == "$ref" else names_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from names_in(value)


def cell(text: str) -> str:
    """`text` as a cell of a table: on one line, without a border in it."""
    return " ".join(text.split()).replace("|", "\\|")


def _base(schema: Schema) -> str:
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {type_text(schema.get('items', {}))}"
    if kind == "object" and isinstance(values := schema.get("additionalProperties"), dict):
        return f"object of {type_text(values)}"
    if kind == "string":
        return {"date-time": "time", "binary": "bytes"}.get(schema.get("format", ""), "string")
    return str(kind)


def _limits(schema: Schema) -> Iterator[str]:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        yield f"{_number(least)} to {_number(most)}"
    else:
        yield from (text.format(_number(schema[name])) for name, text in _BOUNDS.items() if name in schema)
    suffix, unit = _SIZES.get(str(schema.get("type")), ("", ""))
    yield from _sizes(schema.get(f"min{suffix}"), schema.get(f"max{suffix}"), unit)
    if "pattern" in schema:
        yield f"like `{schema['pattern']}`"


def _sizes(least: int | None, most: int | None, unit: str) -> Iterator[str]:
    if least and most:
        yield f"{least} to {most} {unit}"
    elif least or most:
        yield f"at least {least} {unit}" if least else f"at most {most} {unit}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)
