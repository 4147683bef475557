"""What the client offers: the same from both kinds, described, and in agreement with the API."""

from __future__ import annotations

import inspect

import pytest

from api.routes.batch import BatchResult as ApiBatchResult
from api.routes.models import Model as ApiModel
from api.routes.uploads import UploadTarget as ApiUploadTarget
from api.routes.uploads import UploadView as ApiUpload
from client import AsyncJob, AsyncLongtake, BatchResult, ClientError, Job, JobOptions, Longtake, Model, Upload
from client.aio import jobs as aio_jobs
from client.aio import resources as aio_resources
from client.models import KeyLimits, UploadTarget
from client.options import FirstChunk, Refine
from client.sync import jobs, resources
from core.service.domain import api_keys
from core.service.domain.schema import FirstChunkOptions, JobRequest, RefineOptions

PAIRS = [
    (Longtake, AsyncLongtake),
    (Job, AsyncJob),
    (jobs.Jobs, aio_jobs.AsyncJobs),
    (resources.Uploads, aio_resources.AsyncUploads),
    (resources.Models, aio_resources.AsyncModels),
    (resources.Keys, aio_resources.AsyncKeys),
    (resources.Webhooks, aio_resources.AsyncWebhooks),
]


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS, ids=lambda kind: kind.__name__)
def test_both_kinds_have_the_same_methods(sync: type, asynchronous: type) -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        public = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(method).parameters) for name, method in public if name[0] != "_"}

    assert methods(sync) == methods(asynchronous)
    for kind in (sync, asynchronous):
        public = [method for name, method in inspect.getmembers(kind, inspect.isfunction) if name[0] != "_"]
        assert [method.__name__ for method in public if not method.__doc__] == []


def test_fields_the_client_reads_are_fields_the_api_sends() -> None:
    pairs = ((Model, ApiModel), (Upload, ApiUpload), (UploadTarget, ApiUploadTarget), (BatchResult, ApiBatchResult))
    for read, sent in pairs:
        assert set(read.model_fields) <= set(sent.model_fields)


def test_every_field_of_a_request_is_a_keyword_argument() -> None:
    assert set(JobRequest.model_fields) <= set(JobOptions.__annotations__)
    assert set(FirstChunkOptions.model_fields) == set(FirstChunk.__annotations__)
    assert set(RefineOptions.model_fields) == set(Refine.__annotations__)


def test_every_limit_of_a_key_can_be_given() -> None:
    assert set(KeyLimits.__annotations__) == set(api_keys.KeyLimits.model_fields)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://api.test", "http://x:port", ""])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    for kind in (Longtake, AsyncLongtake):
        with pytest.raises(ClientError, match="is not the URL of an API"):
            kind(url)
