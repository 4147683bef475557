"""The Python client of the HTTP API: `Client` (sync) and `AsyncClient` (asyncio).

    from client import Client

    with Client("http://127.0.0.1:8000") as client:
        job = client.create_job({"prompt": "a red circle moving left", "num_frames": 48})
        job = client.wait(job.id)
        client.download_video(job.id, Path("video.mp4"))

Needs httpx and pydantic; of Longtake itself only the job schema. docs/client.md is its guide.
"""

from client.async_client import AsyncClient
from client.client import Client
from client.errors import ApiError, ApiUnreachable, ApiUnreadable, ClientError, StorageUnreachable, WaitTimeout
from client.models import BatchResult, Model, ModelList, Upload
from client.sse import ServerEvent

__all__ = [
    "ApiError",
    "ApiUnreachable",
    "ApiUnreadable",
    "AsyncClient",
    "BatchResult",
    "Client",
    "ClientError",
    "Model",
    "ModelList",
    "ServerEvent",
    "StorageUnreachable",
    "Upload",
    "WaitTimeout",
]
