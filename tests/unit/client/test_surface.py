"""What the client offers: the same from both kinds, described, and in agreement with the API."""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args

import pytest

from api.app import create_app
from api.routes.batch import BatchResult as ApiBatchResult
from api.routes.models import Model as ApiModel
from api.routes.uploads import UploadTarget as ApiUploadTarget
from api.routes.uploads import UploadView as ApiUpload
from client import AsyncJob, AsyncLongtake, BatchResult, ClientError, Job, JobOptions, Longtake, Model, Upload
from client.aio import jobs as aio_jobs
from client.aio import resources as aio_resources
from client.calls import jobs as jobs_calls
from client.calls import keys, service, uploads, webhooks
from client.calls.call import Call
from client.models import Key, KeyLimits, NewKey, NewWebhookSecret, UploadTarget
from client.options import FirstChunk, PriorityName, Refine
from client.sync import jobs, resources
from core.service.domain import api_keys
from core.service.domain.key_schema import KeyView, NewKeyView
from core.service.domain.key_schema import NewWebhookSecret as ApiNewWebhookSecret
from core.service.domain.priority import Priority
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
    for read, sent in ((Key, KeyView), (NewKey, NewKeyView), (NewWebhookSecret, ApiNewWebhookSecret)):
        assert set(read.model_fields) - {"usage"} <= set(sent.model_fields)


def test_every_call_is_an_endpoint_of_the_api() -> None:
    sent: list[Call[Any]] = [
        *(jobs_calls.create({}, "k", 0), jobs_calls.put("x", {}, 0), jobs_calls.plan({}), jobs_calls.batch([], "k")),
        *(jobs_calls.get("x"), jobs_calls.page(None, 1, None, None), jobs_calls.chunks("x", 0, 1, None)),
        *(
            jobs_calls.events("x", "", 1),
            jobs_calls.steer("x", "y", None, None, None, None),
            jobs_calls.extend("x", 1, None),
        ),
        *(jobs_calls.branch("x", 1, {}), jobs_calls.retry("x"), jobs_calls.cancel("x"), jobs_calls.delete("x")),
        *(jobs_calls.metrics("x"), jobs_calls.measure("x")),
        *(jobs_calls.revoke_links("x"), uploads.create("image/png", 1), uploads.get("x"), uploads.delete("x")),
        *(uploads.models(), keys.create("x", "jobs", None), keys.all_keys(), keys.get("x"), keys.current()),
        *(
            keys.change("x", None, None, None),
            keys.revoke("x"),
            keys.rotate("x", 0),
            keys.rotate_webhook_secret("x", 0),
        ),
        *(webhooks.deliveries("x", 1, None), webhooks.redeliver("x", "y"), webhooks.ping("x", None)),
        webhooks.ping_result("x"),
        service.status(),
    ]
    paths = create_app().openapi()["paths"]
    real = {(method.upper(), re.sub(r"\{\w+\}", "*", path)) for path, methods in paths.items() for method in methods}
    used = {(call.method, re.sub(r"/[xy](?=/|$)", "/*", call.url)) for call in sent}
    assert used - real == set()


def test_every_field_of_a_request_is_a_keyword_argument() -> None:
    assert set(JobRequest.model_fields) <= set(JobOptions.__annotations__)
    assert set(FirstChunkOptions.model_fields) == set(FirstChunk.__annotations__)
    assert set(RefineOptions.model_fields) == set(Refine.__annotations__)


def test_priorities_are_named_as_the_api_does() -> None:
    assert set(get_args(PriorityName)) == set(Priority)


def test_every_limit_of_a_key_can_be_given() -> None:
    assert set(KeyLimits.__annotations__) == set(api_keys.KeyLimits.model_fields)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://api.test", "http://x:port", ""])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    for kind in (Longtake, AsyncLongtake):
        with pytest.raises(ClientError, match="is not the URL of an API"):
            kind(url)
