"""Admits requests against a deployment's presets, without network and input media."""

from typing import Any

import pytest

from core.service.admission.admission import Admitted, admit
from core.service.admission.catalog import Catalog
from core.service.admission.request_body import parse_request
from core.service.domain.errors import RequestError, UploadNotFound
from core.service.domain.media_types import MediaKind
from core.service.domain.schema import JobSpec
from core.service.settings import Settings

PROMPT = "a red circle"


def no_media(_kind: MediaKind, reference: str, _field: str) -> None:
    raise UploadNotFound(f"there is no {reference}")


def admitted(settings: Settings, **fields: Any) -> Admitted:
    request = parse_request({"prompt": PROMPT, **fields})
    catalog = Catalog(settings)
    return admit(request, catalog, settings, lambda: 42, no_media, lambda _host, _port: ["8.8.8.8"])


def spec_of(settings: Settings, **fields: Any) -> JobSpec:
    return admitted(settings, **fields).spec


def refusal(settings: Settings, **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        spec_of(settings, **fields)
    assert caught.value.fix
    return caught.value


def asking(field: str, value: object) -> dict[str, Any]:
    """A request's fields with `value` at a path."""
    first, _, rest = field.partition(".")
    return {first: {rest: value} if rest else value}
