"""The part of the OpenAPI document that is about /v1: bodies, and errors in OpenAI's form."""

from __future__ import annotations

from typing import Any

from api.http.openapi import declare_models, operations
from api.http.problems import MEDIA_TYPE
from api.openai.answers import ErrorAnswer
from api.openai.bodies import FORM, REFERENCE
from api.openai.errors import PREFIX, STATUS_OF
from api.openai.requests import RemixRequest, VideoRequest

VIDEO_EXAMPLES: dict[str, dict[str, Any]] = {
    "shortest": {
        "summary": "Only a prompt",
        "value": {"prompt": "a red circle moving left over a striped background"},
    },
    "length": {
        "summary": "Model and length",
        "value": {
            "model": "sprites",
            "prompt": "a blue square moving up over a dotted background",
            "seconds": "4",
        },
    },
}
REMIX_EXAMPLES: dict[str, dict[str, Any]] = {
    "prompt": {
        "summary": "Another colour",
        "value": {"prompt": "a blue circle moving left over a striped background"},
    }
}


def _schema_of(model: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _form_schema() -> dict[str, Any]:
    """The fields of VideoRequest as texts, and the image as a file."""
    fields = VideoRequest.model_json_schema()["properties"]
    texts = {name: {"type": "string", "description": fields[name].get("description", "")} for name in fields}
    image = {"type": "string", "contentMediaType": "application/octet-stream", "description": "An image file."}
    return {
        "type": "object",
        "required": ["prompt"],
        "additionalProperties": False,
        "properties": {**texts, REFERENCE: image},
    }


VIDEO_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _schema_of(VideoRequest), "examples": VIDEO_EXAMPLES},
            FORM: {"schema": _form_schema()},
        },
    }
}
REMIX_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _schema_of(RemixRequest), "examples": REMIX_EXAMPLES}},
    }
}


def complete(document: dict[str, Any]) -> None:
    """A step of api.http.openapi, the last one."""
    declare_models(document, (VideoRequest, RemixRequest, ErrorAnswer))
    for operation in operations(document["paths"], PREFIX):
        operation["responses"] = _rewritten(operation["responses"])


def _rewritten(responses: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Problems become ErrorAnswers, as in errors.py."""
    content = {"application/json": {"schema": _schema_of(ErrorAnswer)}}
    told = dict[str, dict[str, Any]]()
    for code, response in responses.items():
        is_problem = MEDIA_TYPE in response.get("content", {})
        status = str(STATUS_OF.get(int(code), code)) if is_problem else code
        told.setdefault(status, {**response, "content": content} if is_problem else response)
    told["400"]["description"] = "The body cannot be read, or a field or parameter is invalid; `param` names it."
    return told
