"""A decoded JSON body becomes a validated request, or RequestErrors that name the field at fault and the fix."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from itertools import islice
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from core.service.domain.errors import (
    FieldNotSupported,
    InvalidField,
    PromptTooLong,
    RequestError,
    UnknownField,
    shortened,
)
from core.service.domain.schema import REFINE_TAGS, JobChange, JobRequest

FIELDS_NOT_BUILT_YET = frozenset({"engine"})
MAX_NAME = 64
"""Characters of a client's field name that an error message repeats."""
MAX_ERRORS = 50
"""Most errors of one kind that are made for a body: finding the field that was probably meant takes time."""
Body = TypeVar("Body", bound=BaseModel)

_INSTEAD_OF_PROMPT = ("prompt", "prompts", "image", "video", "control")

_NOT_WRITTEN = frozenset({"[key]", *REFINE_TAGS})  # parts of pydantic's locations that are not in the body
_EXPLANATIONS: dict[str, tuple[str, str]] = {
    "missing": ("is missing", "add it"),
    "string_type": ("is not a string", "give a string in quotes"),
    "string_unicode": ("is not valid Unicode", "leave out lone surrogates (\\ud800 to \\udfff)"),
    "string_too_short": ("is empty", "write something"),
    "string_too_long": ("has more than {max_length} characters", "shorten it"),
    "int_type": ("is not a whole number", "give a whole number without quotes"),
    "int_parsing": ("is not a whole number", "give a whole number"),
    "float_type": ("is not a number", "give a number without quotes"),
    "finite_number": ("is not a finite number", "give a finite number"),
    "frame_rate_form": ("is neither a number nor a fraction", 'give a number, or a string such as "30000/1001"'),
    "frame_rate_too_fine": ("has a denominator above {most} in lowest terms", "give at most four decimals"),
    "greater_than_equal": ("is below {ge}", "give at least {ge}"),
    "greater_than": ("is not above {gt}", "give more than {gt}"),
    "less_than_equal": ("is above {le}", "give at most {le}"),
    "enum": ("is not {expected}", "use {expected}"),
    "bool_type": ("is neither true or false nor an object", "give true, or an object in curly brackets"),
    "string_pattern_mismatch": ("is not WIDTHxHEIGHT in pixels", "write it like 128x128"),
    "extra_forbidden": ("is not a field", "leave it out"),
    "bool_parsing": ("is neither true nor false", "give true or false"),
    "literal_error": ("is not {expected}", "use {expected}"),
    "list_type": ("is not a list", "give a list in square brackets"),
    "model_type": ("is not an object", "give an object in curly brackets"),
    "dict_type": ("is not an object", "give an object in curly brackets"),
    "too_short": ("has fewer than {min_length} entries", "give at least {min_length}"),
    "too_long": ("has more than {max_length} entries", "leave some out"),
}
"""pydantic's error types: what is wrong, and the fix, both formatted with the error's ctx."""
_OF_FIELDS = {
    ("owner", "string_pattern_mismatch"): ("is not the id of an API key", "give one that GET /keys lists, or admin")
}
"""In place of those above, by field and error type."""
_REASONS = {("seed", "less_than_equal"): ": JavaScript and other JSON clients round larger integers"}
"""Appended to the fix, by field and error type."""


def parse_request(body: object) -> JobRequest:
    """The body of POST /jobs; see `parse_body`."""
    return parse_body(body, JobRequest)


def parse_change(body: object) -> JobChange:
    """The body of PATCH /jobs/{id}; see `parse_body`. Raises InvalidField if it changes nothing."""
    change = parse_body(body, JobChange)
    if change.prompt is None and change.from_frame is not None:
        raise InvalidField("from_frame without prompt", field="from_frame", fix="give the prompt that begins there")
    without_prompt = change.metadata is not None or change.priority is not None or change.changes_length
    if change.prompt is None and not without_prompt:
        raise InvalidField("nothing is to be changed", fix="give a prompt, num_frames, metadata, or a priority")
    return change


def parse_body(body: object, model: type[Body]) -> Body:
    """The request in a decoded JSON body, without coercion: "48" and True are not numbers.

    Raises the first RequestError; `also` of it has the others.
    """
    if not isinstance(body, dict):
        raise InvalidField(
            "the body is not a JSON object", fix=f'send an object like {{"{next(iter(model.model_fields))}": "..."}}'
        )
    fields = cast(dict[str, Any], body)
    unknown = islice((name for name in fields if name not in model.model_fields), MAX_ERRORS)
    errors = [_error_of_unknown_field(name, model) for name in unknown]
    known = {name: value for name, value in fields.items() if name in model.model_fields}
    try:
        request = model.model_validate(known, strict=True)
    except ValidationError as error:
        errors += [*_likely_missing(known, model), *_errors_of(error)]
    else:
        if not errors:
            return request
        errors += _likely_missing(known, model)
    raise _together(errors)


def _likely_missing(known: Mapping[str, Any], model: type[BaseModel]) -> list[RequestError]:
    """The error for a prompt that is left out, to be told beside others. Alone it is told by admission, which knows
    whether the model reads one."""
    is_given = model is not JobRequest or any(known.get(name) is not None for name in _INSTEAD_OF_PROMPT)
    return [] if is_given else [prompt_missing()]


def parse_parameters(parameters: Mapping[str, Any], model: type[Body]) -> Body:
    """`parameters` of a request, validated like a body. Raises RequestErrors of fields such as parameters.zoom."""
    try:
        # As JSON: strict mode then takes a list for a tuple, and a string for an enum.
        return model.model_validate_json(json.dumps(parameters), strict=True)
    except ValidationError as error:
        raise _together(_errors_of(error, "parameters")) from error


def _errors_of(error: ValidationError, *within: str) -> list[RequestError]:
    details = error.errors(include_url=False, include_input=False)[:MAX_ERRORS]
    return [error_of_detail({**detail, "loc": (*within, *detail["loc"])}) for detail in details]


def _together(errors: list[RequestError]) -> RequestError:
    first, *others = errors
    first.also = tuple(others)
    return first


def _error_of_unknown_field(name: object, model: type[BaseModel]) -> RequestError:
    """The error for a field that `model` does not have, naming the field that was probably meant."""
    field = written(name)
    if model is JobRequest and name in FIELDS_NOT_BUILT_YET:
        return FieldNotSupported(f"{field} is not built yet", field=field, fix="leave it out")
    near = difflib.get_close_matches(field, model.model_fields, n=1)
    known = ", ".join(model.model_fields)
    fix = f"did you mean {near[0]}?" if near else f"leave it out; the fields are {known}"
    return UnknownField(f"there is no field {field}", field=field, fix=fix)


def prompt_missing() -> InvalidField:
    return InvalidField("prompt is missing", field="prompt", fix="add it")


def error_of_detail(detail: Mapping[str, Any]) -> RequestError:
    """A RequestError for one of pydantic's error details; its `loc` begins with a field's name."""
    field = _path(detail["loc"])
    what, fix = _OF_FIELDS.get((field, detail["type"])) or _explained(detail)
    too_long_text = detail["type"] == "string_too_long" and field in {"prompt", "negative_prompt"}
    error_class = PromptTooLong if too_long_text else InvalidField
    return error_class(f"{field} {what}", field=field, fix=fix + _REASONS.get((field, detail["type"]), ""))


def _explained(detail: Mapping[str, Any]) -> tuple[str, str]:
    """(what is wrong, the fix)."""
    if detail["type"] not in _EXPLANATIONS:
        what = str(detail["msg"]).removeprefix("Value error, ")  # pydantic's prefix for a validator's own message
        return f"is not valid: {what}", "see the documentation of this field"
    context = {name: _bound(value) for name, value in (detail.get("ctx") or {}).items()}
    what, fix = _EXPLANATIONS[detail["type"]]
    return what.format(**context), fix.format(**context)


def _bound(value: Any) -> Any:
    """1.0 becomes 1; other values are unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _path(location: tuple[object, ...]) -> str:
    """pydantic's location as a path: webhook_events[0], metadata.colour."""
    first, *rest = (part for part in location if part not in _NOT_WRITTEN)
    return written(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{written(part)}" for part in rest)


def written(name: object) -> str:
    """A client's field name, shortened and escaped for an error message."""
    return shortened(str(name), MAX_NAME)
