"""The OpenAPI document as it is with the default settings, and its text in tests/unit/api/openapi.json."""

from __future__ import annotations

import json
from typing import Any

from api.app import create_app
from core.service.settings import Settings


def openapi_document() -> dict[str, Any]:
    """The document without the version of the package, which says nothing about the interface."""
    document = create_app(Settings()).openapi()
    return {**document, "info": {name: value for name, value in document["info"].items() if name != "version"}}


def openapi_text() -> str:
    """The document with sorted keys: moving a route is no change."""
    return json.dumps(openapi_document(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
