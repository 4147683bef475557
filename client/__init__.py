"""The Python client of the HTTP API: `Longtake` (sync) and `AsyncLongtake` (asyncio).

    from client import Longtake

    with Longtake("http://127.0.0.1:8000", key="lt_...") as longtake:
        job = longtake.jobs.create(prompt="a red circle moving left", num_frames=48)
        for chunk in job.chunks():  # while the video is made
            print(chunk.url)
        job.save("video.mp4")

Needs httpx and pydantic; of Longtake itself only the job schema. docs/client.md is its guide.
"""

from client.aio.job import AsyncJob
from client.aio.longtake import AsyncLongtake
from client.errors import (
    ApiError,
    ApiUnreachable,
    ApiUnreadable,
    ClientError,
    Conflict,
    Forbidden,
    InvalidRequest,
    KeyRefused,
    LimitReached,
    NotFound,
    ServiceUnavailable,
    StorageUnreachable,
    WaitTimeout,
)
from client.models import BatchResult, Key, KeyLimits, Model, ModelCard, ModelList, NewKey, Upload
from client.options import JobOptions
from client.sse import ServerEvent
from client.sync.job import Job
from client.sync.longtake import Longtake
from core.service.domain.service_status import ServiceStatus

__all__ = [
    "ApiError",
    "ApiUnreachable",
    "ApiUnreadable",
    "AsyncJob",
    "AsyncLongtake",
    "BatchResult",
    "ClientError",
    "Conflict",
    "Forbidden",
    "InvalidRequest",
    "Job",
    "JobOptions",
    "Key",
    "KeyLimits",
    "KeyRefused",
    "LimitReached",
    "Longtake",
    "Model",
    "ModelCard",
    "ModelList",
    "NewKey",
    "NotFound",
    "ServerEvent",
    "ServiceStatus",
    "ServiceUnavailable",
    "StorageUnreachable",
    "Upload",
    "WaitTimeout",
]
