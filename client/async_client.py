"""The async client: sends the calls of calls.py with httpx.AsyncClient. Same methods as Client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Self, TypeVar

import httpx

from client import calls
from client.calls import DEFAULT_BASE_URL, TIMEOUT_SECONDS, UNCHANGED, Call, JobFields, NewLength
from client.errors import ApiUnreachable, WaitTimeout
from client.files import OnBytes, ignore_bytes, read_pieces, whole_file
from client.following import Following
from client.models import BatchResult, ModelList, Upload
from client.responses import error_of, unreachable
from client.sse import EventParser, ServerEvent
from core.service.domain.schema import ChangedJob, Chunk, ChunkList, Job, JobList, JobPlan, JobStatus, Variant

T = TypeVar("T")


class AsyncClient:
    """One connection pool to one API. Use as an async context manager, or call `close`.

    Methods, arguments and exceptions are those of Client, which describes them.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        *,
        poll_seconds: float = 0.5,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.base_url = calls.checked_base_url(base_url)
        self._poll_seconds = poll_seconds
        self._http = httpx.AsyncClient(
            base_url=self.base_url, timeout=TIMEOUT_SECONDS, transport=transport, trust_env=False
        )
        self._reads = calls.JobReads()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def create_job(self, request: JobFields, *, idempotency_key: str | None = None, wait_seconds: int = 0) -> Job:
        """POST /jobs. `idempotency_key` makes it safe to repeat; `wait_seconds`: answered when the job has ended."""
        return await self._send(calls.create_job(request, idempotency_key, wait_seconds))

    async def put_job(self, job_id: str, request: JobFields, *, wait_seconds: int = 0) -> Job:
        """PUT /jobs/{id}: a job with an id of your own, safe to repeat."""
        return await self._send(calls.put_job(job_id, request, wait_seconds))

    async def plan_job(self, request: JobFields) -> JobPlan:
        """POST /jobs?dry_run=true: what the job would be. Nothing is created."""
        return await self._send(calls.plan_job(request))

    async def create_jobs(
        self, requests: Iterable[JobFields], *, idempotency_key: str | None = None
    ) -> list[BatchResult]:
        """POST /jobs/batch: up to 100 jobs; what became of each, in order."""
        return (await self._send(calls.create_jobs(requests, idempotency_key))).results

    async def get_job(self, job_id: str) -> Job:
        """GET /jobs/{id}. An unchanged job costs a 304 without a body."""
        return await self._send(self._reads.get_job(job_id))

    async def list_jobs(self, status: JobStatus | None = None, limit: int = 20, cursor: str | None = None) -> JobList:
        """GET /jobs: one page, newest first, 1 to 100 jobs. Pass `next_cursor` of a page for the page after it."""
        return await self._send(calls.list_jobs(status, limit, cursor))

    async def list_chunks(
        self, job_id: str, after: int = -1, limit: int = 100, include: calls.ChunkInclude | None = None
    ) -> ChunkList:
        """GET /jobs/{id}/chunks: one page of finished chunks with an index above `after`, at most 1,000. Pass
        `next_after` of a page for the page after it. `include` presigned_urls: also URLs of the object storage, which
        expire."""
        return await self._send(calls.list_chunks(job_id, after, limit, include))

    async def chunks(self, job_id: str, after: int = -1) -> AsyncGenerator[Chunk]:
        """Every finished chunk with an index above `after`, in order, page by page. Of a running job those that are
        finished now."""
        next_after: int | None = after
        while next_after is not None:
            page = await self.list_chunks(job_id, next_after, limit=1000)
            for chunk in page.chunks:
                yield chunk
            next_after = page.next_after

    async def change_job(
        self,
        job_id: str,
        prompt: str | None = None,
        from_frame: int | None = None,
        metadata: Mapping[str, str] | None = None,
        num_frames: NewLength = UNCHANGED,
    ) -> ChangedJob:
        return await self._send(calls.change_job(job_id, prompt, from_frame, metadata, num_frames))

    async def extend_job(self, job_id: str, num_frames: int, prompt: str | None = None) -> Job:
        """POST /jobs/{id}/extend: so many more frames for a job that has succeeded or was canceled."""
        return await self._send(calls.extend_job(job_id, num_frames, prompt))

    async def branch_job(
        self,
        job_id: str,
        from_chunk: int,
        prompt: str | None = None,
        seed: int | None = None,
        num_frames: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Job:
        """POST /jobs/{id}/branch: a new job that shares the chunks before `from_chunk`, and is as its source in what is
        left out."""
        changes = {"prompt": prompt, "seed": seed, "num_frames": num_frames, "metadata": metadata}
        return await self._send(calls.branch_job(job_id, from_chunk, changes))

    async def retry_job(self, job_id: str) -> Job:
        """POST /jobs/{id}/retry: a failed or canceled job goes on from its last good chunk."""
        return await self._send(calls.retry_job(job_id))

    async def cancel_job(self, job_id: str) -> Job:
        """POST /jobs/{id}/cancel. Finished chunks become the final video. ApiError 409 if the job has ended."""
        return await self._send(calls.cancel_job(job_id))

    async def delete_job(self, job_id: str) -> None:
        """DELETE /jobs/{id}: the job and its objects. It is 404 from then on."""
        await self._send(calls.delete_job(job_id))

    async def upload(self, path: Path, content_type: str, on_bytes: OnBytes = ignore_bytes) -> str:
        """Upload a file for `image` or `video` of a job; returns its id. The file is read on the event loop."""
        size_bytes = path.stat().st_size
        target = await self._send(calls.create_upload(content_type, size_bytes))
        return await self._send(calls.send_file(target, _pieces(path, size_bytes, on_bytes)))

    async def get_upload(self, upload_id: str) -> Upload:
        """GET /uploads/{id}."""
        return await self._send(calls.get_upload(upload_id))

    async def delete_upload(self, upload_id: str) -> None:
        """DELETE /uploads/{id}: new jobs cannot use it; jobs that already use it are not affected."""
        await self._send(calls.delete_upload(upload_id))

    async def list_models(self) -> ModelList:
        """GET /models."""
        return await self._send(calls.list_models())

    async def is_ready(self) -> bool:
        """Whether GET /readyz answers with success within 5 seconds."""
        try:
            return (await self._http.get("/readyz", timeout=5.0)).is_success
        except httpx.RequestError:
            return False

    async def events(self, job_id: str, after: str = "") -> AsyncGenerator[ServerEvent]:
        """GET /jobs/{id}/events over one connection: each event after the event id `after`."""
        async with self._stream(calls.events(job_id, after)) as response:
            parser = EventParser()
            async for line in response.aiter_lines():
                if (event := parser.feed(line)) is not None:
                    yield event

    async def follow(self, job_id: str) -> AsyncGenerator[Job]:
        """The job now, after each of its events, and last when it has ended. Resumes broken event streams."""
        following = Following(await self.get_job(job_id), time.monotonic())
        yield following.job
        while not following.has_ended:
            with suppress(ApiUnreachable):
                async with aclosing(self.events(job_id, following.last_event_id)) as events:
                    async for event in events:
                        if following.apply(event, time.monotonic()):
                            following.refresh(await self.get_job(job_id), time.monotonic())
                        yield following.job
                        if following.has_ended:
                            return
            # The stream ended. If the whole API is gone, reading the job raises.
            await asyncio.sleep(self._poll_seconds)
            following.refresh(await self.get_job(job_id), time.monotonic())
            yield following.job

    async def wait(self, job_id: str, timeout_seconds: float | None = None) -> Job:
        """Poll until the job has ended, whatever its status. Raises WaitTimeout."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not (job := await self.get_job(job_id)).status.is_terminal:
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"{job_id} was still {job.status} after {timeout_seconds:g} s")
            await asyncio.sleep(self._poll_seconds)
        return job

    async def fetch(self, url: str) -> bytes:
        """The body of a URL of an answer, for example a chunk's `url`. Redirects are followed."""
        return await self._send(calls.fetch(url))

    async def download(self, url: str, path: Path) -> None:
        """Save a URL of an answer as `path`, which appears only when it is complete. Redirects are followed."""
        with whole_file(path) as file:
            async with self._stream(calls.download(url)) as response:
                async for data in response.aiter_bytes():
                    file.write(data)

    async def download_video(self, job_id: str, path: Path, variant: Variant = "preview") -> None:
        """Save the final MP4 of an ended job as `path`."""
        await self.download(calls.video_path(job_id, variant), path)

    async def _send(self, call: Call[T]) -> T:
        try:
            response = await self._http.request(call.method, call.url, **call.options)
        except httpx.RequestError as error:
            raise unreachable(error, self.base_url) from error
        if response.is_error:
            raise error_of(response)
        return call.read(response)

    @asynccontextmanager
    async def _stream(self, call: Call[None]) -> AsyncGenerator[httpx.Response]:
        try:
            async with self._http.stream(call.method, call.url, **call.options) as response:
                if response.is_error:
                    await response.aread()
                    raise error_of(response)
                yield response
        except httpx.RequestError as error:
            raise unreachable(error, self.base_url) from error


async def _pieces(path: Path, size_bytes: int, on_bytes: OnBytes) -> AsyncIterator[bytes]:
    """httpx's AsyncClient takes async iterators only."""
    for piece in read_pieces(path, size_bytes, on_bytes):
        yield piece
