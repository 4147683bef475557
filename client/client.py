"""A small client of the HTTP API: what the commands need, and nothing that curl could not do.

Knows URLs and problem+json; knows no processes, no Redis, no storage keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, Self

import httpx
from pydantic import ValidationError

from core.service.domain.errors import LongtakeError
from core.service.domain.schema import Job

DEFAULT_BASE_URL = "http://127.0.0.1:8000"
UPLOAD_PIECE_BYTES = 1 << 18
UPLOAD_TIMEOUT_SECONDS = 120.0
"""Longest pause of the storage while it takes a file."""
EVENT_SILENCE_SECONDS = 5.0
"""An event stream silent for longer is left; whoever follows a job then looks at the job itself and comes back."""


class ApiRefused(LongtakeError):
    """The API refused the request."""

    code = "api_refused"


class ApiUnreachable(LongtakeError):
    """The API does not answer."""

    code = "api_unreachable"


class ApiUnreadable(LongtakeError):
    """The API answers what this version does not understand."""

    code = "api_unreadable"


class StorageUnreachable(LongtakeError):
    """The object storage that a URL of the API leads to does not answer."""

    code = "storage_unreachable"


@dataclass(frozen=True)
class ServerEvent:
    """One server-sent event."""

    id: str
    type: str
    data: str


class Client:
    """One connection pool to one API. All methods raise ApiRefused (with the API's own words), ApiUnreachable,
    ApiUnreadable or, where a URL leads to the object storage, StorageUnreachable."""

    def __init__(self, base_url: str = DEFAULT_BASE_URL, *, transport: httpx.BaseTransport | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        # Proxies of the environment are for the outside world; this service is usually on this machine.
        self._http = httpx.Client(base_url=self.base_url, timeout=30.0, transport=transport, trust_env=False)
        self._etags: dict[str, tuple[str, Job]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, body: dict[str, Any]) -> Job:
        """POST /jobs. `body` is a JobRequest; the API checks it."""
        return self._read(self._send("POST", "/jobs", json=body))

    def upload(self, path: Path, content_type: str, show: Callable[[int, int], None]) -> str:
        """POST /uploads, then PUT the file where the answer says; the upload's id. `show` is called with (done, total)
        bytes. The storage, not the API, may refuse the file: that is ApiRefused, too."""
        size_bytes = path.stat().st_size
        body = {"content_type": content_type, "size_bytes": size_bytes}
        target = self._send("POST", "/uploads", json=body).json()
        with path.open("rb") as file:
            self._send(
                target["method"],
                target["url"],
                content=_pieces(file, size_bytes, show),
                headers=target["headers"],
                timeout=UPLOAD_TIMEOUT_SECONDS,
            )
        return str(target["id"])

    def job(self, job_id: str) -> Job:
        """GET /jobs/{id}; a job that has not changed is not sent again (ETag, 304)."""
        etag, known = self._etags.get(job_id, ("", None))
        response = self._send("GET", f"/jobs/{job_id}", headers={"If-None-Match": etag} if etag else None)
        if response.status_code == HTTPStatus.NOT_MODIFIED and known is not None:
            return known
        job = self._read(response)
        self._etags[job_id] = (response.headers.get("etag", ""), job)
        return job

    def cancel(self, job_id: str) -> Job:
        """POST /jobs/{id}/cancel."""
        return self._read(self._send("POST", f"/jobs/{job_id}/cancel"))

    def models(self) -> dict[str, Any]:
        """GET /models, as it is."""
        return dict(self._send("GET", "/models").json())

    def ready(self) -> bool:
        """GET /readyz answers with success."""
        try:
            return self._http.get("/readyz", timeout=5.0).is_success
        except httpx.TransportError:
            return False

    def events(self, job_id: str, after: str = "") -> Iterator[ServerEvent]:
        """GET /jobs/{id}/events from after event id `after`, until the API ends the stream."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
        timeout = httpx.Timeout(30.0, read=EVENT_SILENCE_SECONDS)
        try:
            with self._http.stream("GET", f"/jobs/{job_id}/events", headers=headers, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    raise _refused(response)
                yield from parse_events(response.iter_lines())
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def fetch(self, url: str) -> bytes:
        """Any absolute URL of an answer, for example a chunk's."""
        try:
            response = self._http.get(url, follow_redirects=True)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise _refused(response)
        return response.content

    def download(self, url: str, path: Path) -> None:
        """Save a URL of an answer as a file, redirects followed; the file appears only when it is whole."""
        part = path.with_name(path.name + ".part")
        try:
            with self._http.stream("GET", url, follow_redirects=True) as response, part.open("wb") as sink:
                if response.is_error:
                    response.read()
                    raise _refused(response)
                for data in response.iter_bytes():
                    sink.write(data)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        finally:
            if part.exists() and part.stat().st_size == 0:
                part.unlink()
        part.replace(path)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise _refused(response)
        return response

    def _read(self, response: httpx.Response) -> Job:
        """Fields of a newer API are ignored; what cannot be read at all is said in one sentence."""
        try:
            return Job.model_validate(response.json())
        except ValueError as error:  # no JSON, or pydantic's ValidationError
            raise self._unreadable(error) from error

    def _unreadable(self, error: ValueError) -> ApiUnreadable:
        where = "the body"
        if isinstance(error, ValidationError):
            where = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        message = f"{self.base_url} answers what this longtake cannot read: {where}"
        return ApiUnreadable(message, fix="use the longtake of the same version as the API")

    def _unreachable(self, error: httpx.TransportError) -> LongtakeError:
        """The API, or the object store that one of its URLs leads to."""
        if not self._is_of_api(error):
            host = error.request.url.netloc.decode()
            message = f"the object storage at {host} does not answer: {error}"
            return StorageUnreachable(message, fix="is it running, and can this machine reach it?")
        return ApiUnreachable(f"{self.base_url} does not answer: {error}", fix="is `longtake up` running?")

    def _is_of_api(self, error: httpx.TransportError) -> bool:
        try:
            asked = error.request.url
        except RuntimeError:  # the error knows no request
            return True
        return asked.netloc == httpx.URL(self.base_url).netloc


def _pieces(file: BinaryIO, size_bytes: int, show: Callable[[int, int], None]) -> Iterator[bytes]:
    """A file bit by bit; a file that grows meanwhile is sent as long as it was."""
    done_bytes = 0
    while piece := file.read(min(UPLOAD_PIECE_BYTES, size_bytes - done_bytes)):
        yield piece
        done_bytes += len(piece)
        show(done_bytes, size_bytes)


def _refused(response: httpx.Response) -> ApiRefused:
    """The words of a problem+json answer, or the bare status where a proxy answered instead of the API."""
    if "json" not in response.headers.get("content-type", ""):
        return ApiRefused(f"HTTP {response.status_code} from {response.request.url.copy_with(query=None)}")
    problem = response.json()
    what = problem.get("detail") or problem.get("title") or f"HTTP {response.status_code}"
    field = problem.get("field")
    return ApiRefused(f"{field}: {what}" if field else str(what), field=field, fix=problem.get("fix"))


def parse_events(lines: Iterator[str]) -> Iterator[ServerEvent]:
    """Server-sent events from the lines of a stream (WHATWG HTML, section 9.2.6). Comments and `retry` are left out."""
    event_id, kind, data = "", "message", list[str]()
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            event_id = value
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif not line:
            if data:
                yield ServerEvent(event_id, kind, "\n".join(data))
            kind, data = "message", []
