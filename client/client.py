"""The sync client: sends the calls of calls.py with httpx.Client."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
from client.sse import ServerEvent, parse_events
from core.service.domain.schema import ChangedJob, Chunk, ChunkList, Job, JobList, JobPlan, JobStatus, Variant

T = TypeVar("T")


class Client:
    """One connection pool to one API. Use as a context manager, or call `close`.

    Every method can raise ApiError (an error status, for example 404 for an unknown job), ApiUnreachable and
    ApiUnreadable; those that use the object storage can raise StorageUnreachable. No request is retried.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        *,
        poll_seconds: float = 0.5,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`poll_seconds` is the pause of `wait` and `follow` between two reads of a job. Proxies of the environment are
        not used; pass an httpx `transport` to use one. Raises ClientError if `base_url` is no http(s) URL."""
        self.base_url = calls.checked_base_url(base_url)
        self._poll_seconds = poll_seconds
        self._http = httpx.Client(base_url=self.base_url, timeout=TIMEOUT_SECONDS, transport=transport, trust_env=False)
        self._reads = calls.JobReads()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def create_job(self, request: JobFields, *, idempotency_key: str | None = None, wait_seconds: int = 0) -> Job:
        """POST /jobs. Fields left out take the model's defaults; the API checks all of them.

        The same `idempotency_key` and request give the same job for 24 hours, so the call can be repeated after an
        error. With `wait_seconds` the API answers when the job has ended, or after so long.
        """
        return self._send(calls.create_job(request, idempotency_key, wait_seconds))

    def put_job(self, job_id: str, request: JobFields, *, wait_seconds: int = 0) -> Job:
        """PUT /jobs/{id}: a job with an id of your own, safe to repeat. ApiError 409 if another request has it."""
        return self._send(calls.put_job(job_id, request, wait_seconds))

    def plan_job(self, request: JobFields) -> JobPlan:
        """POST /jobs?dry_run=true: what the job would be and how long it would take. Nothing is created."""
        return self._send(calls.plan_job(request))

    def create_jobs(self, requests: Iterable[JobFields], *, idempotency_key: str | None = None) -> list[BatchResult]:
        """POST /jobs/batch: up to 100 jobs; what became of each, in order. After an error repeat it with the same
        `idempotency_key`: only jobs that are missing are created."""
        return (self._send(calls.create_jobs(requests, idempotency_key))).results

    def get_job(self, job_id: str) -> Job:
        """GET /jobs/{id}. An unchanged job costs a 304 without a body."""
        return self._send(self._reads.get_job(job_id))

    def list_jobs(self, status: JobStatus | None = None, limit: int = 20, cursor: str | None = None) -> JobList:
        """GET /jobs: one page, newest first, 1 to 100 jobs. Pass `next_cursor` of a page for the page after it."""
        return self._send(calls.list_jobs(status, limit, cursor))

    def list_chunks(
        self, job_id: str, after: int = -1, limit: int = 100, include: calls.ChunkInclude | None = None
    ) -> ChunkList:
        """GET /jobs/{id}/chunks: one page of finished chunks with an index above `after`, at most 1,000. Pass
        `next_after` of a page for the page after it. `include` presigned_urls: also URLs of the object storage, which
        expire."""
        return self._send(calls.list_chunks(job_id, after, limit, include))

    def chunks(self, job_id: str, after: int = -1) -> Iterator[Chunk]:
        """Every finished chunk with an index above `after`, in order, page by page. Of a running job those that are
        finished now."""
        next_after: int | None = after
        while next_after is not None:
            page = self.list_chunks(job_id, next_after, limit=1000)
            yield from page.chunks
            next_after = page.next_after

    def change_job(
        self,
        job_id: str,
        prompt: str | None = None,
        from_frame: int | None = None,
        metadata: Mapping[str, str] | None = None,
        num_frames: NewLength = UNCHANGED,
    ) -> ChangedJob:
        """PATCH /jobs/{id}: a new prompt for a job that has not ended, from `acts_from_frame` of the answer on, and new
        metadata. `num_frames`: another length; None: without end. ApiError 409 if it has ended."""
        return self._send(calls.change_job(job_id, prompt, from_frame, metadata, num_frames))

    def extend_job(self, job_id: str, num_frames: int, prompt: str | None = None) -> Job:
        """POST /jobs/{id}/extend: so many more frames for a job that has succeeded or was canceled. `prompt` acts from
        the first of them. ApiError 409 if the job has not ended or has failed."""
        return self._send(calls.extend_job(job_id, num_frames, prompt))

    def branch_job(
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
        return self._send(calls.branch_job(job_id, from_chunk, changes))

    def retry_job(self, job_id: str) -> Job:
        """POST /jobs/{id}/retry: a failed or canceled job goes on from its last good chunk. ApiError 409 if it has not
        ended, has succeeded, or nothing is left to do."""
        return self._send(calls.retry_job(job_id))

    def cancel_job(self, job_id: str) -> Job:
        """POST /jobs/{id}/cancel. Finished chunks become the final video. ApiError 409 if the job has ended."""
        return self._send(calls.cancel_job(job_id))

    def delete_job(self, job_id: str) -> None:
        """DELETE /jobs/{id}: the job and its objects. It is 404 from then on."""
        self._send(calls.delete_job(job_id))

    def upload(self, path: Path, content_type: str, on_bytes: OnBytes = ignore_bytes) -> str:
        """Upload a file for `image` or `video` of a job; returns the upload's id.

        `content_type` is for example "video/mp4". `on_bytes(done, total)` is called as the file is sent. If the object
        storage refuses the file, that is an ApiError, too.
        """
        size_bytes = path.stat().st_size
        target = self._send(calls.create_upload(content_type, size_bytes))
        return self._send(calls.send_file(target, read_pieces(path, size_bytes, on_bytes)))

    def get_upload(self, upload_id: str) -> Upload:
        """GET /uploads/{id}."""
        return self._send(calls.get_upload(upload_id))

    def delete_upload(self, upload_id: str) -> None:
        """DELETE /uploads/{id}: new jobs cannot use it; jobs that already use it are not affected."""
        self._send(calls.delete_upload(upload_id))

    def list_models(self) -> ModelList:
        """GET /models."""
        return self._send(calls.list_models())

    def is_ready(self) -> bool:
        """Whether GET /readyz answers with success within 5 seconds."""
        try:
            return self._http.get("/readyz", timeout=5.0).is_success
        except httpx.RequestError:
            return False

    def events(self, job_id: str, after: str = "") -> Iterator[ServerEvent]:
        """GET /jobs/{id}/events: each event after the event id `after`, until the API ends the stream.

        One connection: if it breaks or is silent for 5 seconds, ApiUnreachable is raised. Resume with the last
        `id` that was not empty.
        """
        with self._stream(calls.events(job_id, after)) as response:
            yield from parse_events(response.iter_lines())

    def follow(self, job_id: str) -> Iterator[Job]:
        """The job now, after each of its events, and last when it has ended. Resumes broken event streams."""
        following = Following(self.get_job(job_id), time.monotonic())
        yield following.job
        while not following.has_ended:
            with suppress(ApiUnreachable):
                for event in self.events(job_id, following.last_event_id):
                    if following.apply(event, time.monotonic()):
                        following.refresh(self.get_job(job_id), time.monotonic())
                    yield following.job
                    if following.has_ended:
                        return
            # The stream ended. If the whole API is gone, reading the job raises.
            time.sleep(self._poll_seconds)
            following.refresh(self.get_job(job_id), time.monotonic())
            yield following.job

    def wait(self, job_id: str, timeout_seconds: float | None = None) -> Job:
        """Poll until the job has ended, whatever its status. Raises WaitTimeout."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not (job := self.get_job(job_id)).status.is_terminal:
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"{job_id} was still {job.status} after {timeout_seconds:g} s")
            time.sleep(self._poll_seconds)
        return job

    def fetch(self, url: str) -> bytes:
        """The body of a URL of an answer, for example a chunk's `url`. Redirects are followed."""
        return self._send(calls.fetch(url))

    def download(self, url: str, path: Path) -> None:
        """Save a URL of an answer as `path`, which appears only when it is complete. Redirects are followed."""
        with whole_file(path) as file, self._stream(calls.download(url)) as response:
            for data in response.iter_bytes():
                file.write(data)

    def download_video(self, job_id: str, path: Path, variant: Variant = "preview") -> None:
        """Save the final MP4 of an ended job as `path`."""
        self.download(calls.video_path(job_id, variant), path)

    def _send(self, call: Call[T]) -> T:
        try:
            response = self._http.request(call.method, call.url, **call.options)
        except httpx.RequestError as error:
            raise unreachable(error, self.base_url) from error
        if response.is_error:
            raise error_of(response)
        return call.read(response)

    @contextmanager
    def _stream(self, call: Call[None]) -> Generator[httpx.Response]:
        try:
            with self._http.stream(call.method, call.url, **call.options) as response:
                if response.is_error:
                    response.read()
                    raise error_of(response)
                yield response
        except httpx.RequestError as error:
            raise unreachable(error, self.base_url) from error
