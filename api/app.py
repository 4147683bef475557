"""Builds the FastAPI application, which `python -m api.server` runs: routes, ports, error handlers, middleware.

Never imports torch or the worker, so that it starts quickly and needs little memory.
"""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from types import FrameType
from typing import cast

from fastapi import APIRouter, Depends, FastAPI

from api.access.access import Access
from api.access.known_keys import KnownKeys
from api.access.own_jobs import own_job
from api.access.own_uploads import own_upload
from api.access.request_limits import LimitedRequests, RequestLimits
from api.access.scopes import enough_scope
from api.access.unchanged import UnchangedJobs
from api.backends.looks import Looks
from api.backends.ports import Ports, counts_of, real_ports
from api.backends.readiness import Probe, Probes, health_of
from api.events.all_jobs import Overviews
from api.events.sse import Streams, StreamTiming, event_stream_limit
from api.http import openapi, problems
from api.http.client_limits import raise_open_file_limit, reserved_open_files
from api.http.control_characters import NoControlCharacters
from api.http.cross_origin import CrossOrigin
from api.http.hosts import AllowedHosts
from api.http.long_responses import LongResponses
from api.http.measured import Measured
from api.http.methods import HeadAndOptions
from api.http.parameters import known_parameters
from api.http.proxies import TrustedProxies
from api.http.request_errors import ErrorBoundary
from api.http.request_ids import RequestIds
from api.http.traced import Traced
from api.media.delivery import MediaStreams
from api.media.playlist_waits import PlaylistWaits
from api.media.spritesheets import Spritesheets
from api.media.thumbnails import Thumbnails
from api.metrics import ApiMetrics
from api.openai import documents
from api.openai.bodies import LargeBodies
from api.openai.errors import OpenAiErrors
from api.routes import (
    batch,
    branch,
    continuing,
    create,
    docs,
    events,
    health,
    home,
    job_metrics,
    jobs,
    keys,
    links,
    media,
    metrics,
    models,
    openai_models,
    openai_videos,
    problems_page,
    service_status,
    steering,
    uploads,
    webhooks,
)
from api.routes.answers import progress_now
from api.service_status import read_status
from core.service.domain.addresses import networks_of
from core.service.domain.errors import SetupError
from core.service.settings import Settings, read_settings


def _all_routes() -> APIRouter:
    checks = [Depends(enough_scope), Depends(known_parameters), Depends(own_job), Depends(own_upload)]
    routes = APIRouter(dependencies=checks, generate_unique_id_function=openapi.operation_id)
    of_jobs = (create, batch, jobs, job_metrics, steering, continuing, branch, links, webhooks)
    others = (uploads, media, events, models, keys, openai_videos, openai_models)
    for module in (*of_jobs, *others, health, service_status, metrics, home, docs, problems_page):
        routes.include_router(module.router)
    return routes


ROUTES = _all_routes()
"""Depends on no setting, so it is made once: at the first request FastAPI reads the signatures of all endpoints, 70 ms
for each application that does not share it."""


def create_app(
    settings: Settings | None = None, ports: Ports | None = None, timing: StreamTiming | None = None
) -> FastAPI:
    """The application. `settings` default to the environment, `ports` to Redis, S3 and Celery (real_ports)."""
    settings = settings or settings_of_environment()
    app = FastAPI(
        title="Longtake",
        summary="Long videos from text, playable while they are generated.",
        description=openapi.DESCRIPTION,
        version=openapi.api_version(),
        docs_url=None,
        redoc_url=None,
        servers=[{"url": settings.public_base_url}] if settings.public_base_url else None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.ports = ports = ports or real_ports(settings)
    app.state.looks = Looks(ports.store)
    app.state.known_keys = KnownKeys(ports.keys, ports.clock)
    app.state.probes = Probes(ports.health or health_of(ports.store, ports.workers, ports.pauses, ports.storage))
    limit = event_stream_limit(settings.max_event_streams, settings.max_event_streams_per_address)
    app.state.streams = Streams(ports, limit, timing)
    app.state.overviews = Overviews(app.state.streams, partial(progress_now, ports))
    app.state.media_streams = MediaStreams(settings)
    app.state.spritesheets = Spritesheets(ports.store, ports.storage)
    app.state.thumbnails = Thumbnails(ports.storage)
    app.state.large_bodies = LargeBodies()
    app.state.playlist_waits = PlaylistWaits(settings)
    app.state.service_counts = Probe(partial(counts_of, ports))
    app.state.service_status = Probe(partial(read_status, ports, settings.target_queue_seconds))
    app.state.metrics = _metrics_of(app)
    app.router.routes.extend(ROUTES.routes)
    problems.install(app)
    openapi.install(app, documents.complete)
    _add_middleware(app, settings)
    return app


def _metrics_of(app: FastAPI) -> ApiMetrics:
    streams, media_streams = cast(Streams, app.state.streams), cast(MediaStreams, app.state.media_streams)
    target_seconds = cast(Settings, app.state.settings).target_queue_seconds
    uploads = cast(Ports, app.state.ports).upload_counters
    return ApiMetrics(lambda: streams.limit.in_use, lambda: media_streams.in_use, uploads, target_seconds)


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Each one wraps those added before, so the last one is the first to see a request."""
    ports = cast(Ports, app.state.ports)
    app.add_middleware(UnchangedJobs)
    app.add_middleware(NoControlCharacters)
    app.add_middleware(LimitedRequests, limits=RequestLimits(ports.request_counts, ports.clock))
    app.add_middleware(Access, keys=app.state.known_keys, clock=ports.clock, settings=settings)
    app.add_middleware(HeadAndOptions)
    app.add_middleware(ErrorBoundary)
    app.add_middleware(CrossOrigin, origins=settings.cors_origins)
    app.add_middleware(AllowedHosts, settings=settings)
    app.add_middleware(OpenAiErrors)
    app.add_middleware(TrustedProxies, networks=networks_of(settings.trusted_proxies))
    app.add_middleware(RequestIds)
    app.add_middleware(Traced)
    app.add_middleware(Measured, metrics=app.state.metrics)
    app.add_middleware(LongResponses)


def settings_of_environment() -> Settings:
    """Exits with one sentence if a variable is wrong; a traceback would show its value."""
    try:
        return read_settings()
    except SetupError as error:
        raise SystemExit(error.with_fix) from error


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    streams: Streams = app.state.streams
    if threading.current_thread() is threading.main_thread():  # in a server, not in a test
        streams.limit.reduce_to(raise_open_file_limit() - reserved_open_files(app.state.settings))
        gc.freeze()  # full collections, which stop all requests, skip modules and routes
    with called_on_stop_signals(streams.stop):
        yield
    await cast(Ports, app.state.ports).objects.close()


@contextmanager
def called_on_stop_signals(stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` on SIGINT and SIGTERM before the server's own handlers.

    uvicorn waits for open responses before it calls the lifespan shutdown, so event streams that waited for the
    shutdown would never end. The signal comes earlier.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # a test client's thread, where signals cannot be handled
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        stop()
        handler = previous[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in previous:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
