"""OpenAI's list of models: /v1/models. GET /models tells more about the same models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Path

from api.backends.ports import PortsDep
from api.http.openapi import may_fail
from api.http.problems import UnknownModelPath
from api.openai.answers import ModelObject, ModelObjectList
from core.service.admission.catalog import Catalog
from core.service.domain.errors import PresetError, shortened

router = APIRouter(tags=["openai"], prefix="/v1/models")


@router.get("", summary="List models by id", responses=may_fail(422, 503))
def list_models(ports: PortsDep) -> ModelObjectList:
    """The installed models."""
    return ModelObjectList(data=list(_models(ports.catalog)))


@router.get("/{model}", summary="Read a model by id", responses=may_fail(404, 422, 503))
def read_model(
    model: Annotated[str, Path(description="Its id.", examples=["sprites"])], ports: PortsDep
) -> ModelObject:
    """404 if it is not installed."""
    found = {each.id: each for each in _models(ports.catalog)}
    if model not in found:
        known = ", ".join(found) or "none installed"
        raise UnknownModelPath(f"there is no model {shortened(model, 64)}", field="model", fix=f"use one of: {known}")
    return found[model]


def _models(catalog: Catalog) -> Iterator[ModelObject]:
    for name in catalog.names():
        folder = catalog.get(name)
        with suppress(PresetError):
            if folder.installed:
                written = (folder.path / "preset.json").stat().st_mtime
                yield ModelObject(id=name, created=int(written))
