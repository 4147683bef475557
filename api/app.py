"""Makes the API, which `python -m api.server` runs. Puts routes, ports, errors and documents together.

Never imports torch or the worker, so that it starts in a moment and fits on the smallest machine.
"""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import cast

from fastapi import Depends, FastAPI

from api.backends.ports import Ports, real_ports
from api.backends.readiness import Probes, health_of
from api.events.sse import Rhythm, Streams, event_places
from api.http import openapi, problems
from api.http.client_limits import allow_open_files, files_for_others
from api.http.cross_origin import CrossOrigin
from api.http.hosts import AllowedHosts
from api.http.long_responses import LongAnswers
from api.http.methods import EveryMethod
from api.http.parameters import known_parameters
from api.http.proxies import TrustedProxies
from api.http.request_errors import Boundary
from api.media.delivery import MediaStreams
from api.media.playlist_waits import PlaylistWaits
from api.routes import docs, events, health, home, jobs, media, models, problems_page, uploads
from core.service.domain.addresses import networks_of
from core.service.domain.errors import SetupError
from core.service.settings import Settings, read_settings


def create_app(settings: Settings | None = None, ports: Ports | None = None, rhythm: Rhythm | None = None) -> FastAPI:
    """The application. Without `settings` they come from the environment; without `ports` the real ones are made."""
    settings = settings or settings_of_environment()
    app = FastAPI(
        title="Longtake",
        summary="Long videos from text, watched while they are made.",
        description=openapi.DESCRIPTION,
        version=openapi.api_version(),
        docs_url=None,
        redoc_url=None,
        servers=[{"url": settings.public_base_url}] if settings.public_base_url else None,
        redirect_slashes=False,
        dependencies=[Depends(known_parameters)],
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.ports = ports = ports or real_ports(settings)
    app.state.probes = Probes(ports.health or health_of(ports.store, ports.workers, ports.storage))
    places = event_places(settings.max_event_streams, settings.max_event_streams_per_address)
    app.state.streams = Streams(ports, places, rhythm)
    app.state.media_streams = MediaStreams(settings)
    app.state.playlist_waits = PlaylistWaits(settings)
    for module in (jobs, uploads, media, events, models, health, home, docs, problems_page):
        app.include_router(module.router)
    problems.install(app)
    openapi.install(app)
    _add_middleware(app, settings)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """What stands before all routes; each is added around those before it, so the last one is the first to see a
    request."""
    app.add_middleware(EveryMethod)
    app.add_middleware(Boundary)
    app.add_middleware(CrossOrigin, origins=settings.cors_origins)
    app.add_middleware(AllowedHosts, settings=settings)
    app.add_middleware(TrustedProxies, networks=networks_of(settings.trusted_proxies))
    app.add_middleware(LongAnswers)


def settings_of_environment() -> Settings:
    """A variable that is wrong ends the server with one sentence, instead of a traceback with what is in it."""
    try:
        return read_settings()
    except SetupError as error:
        raise SystemExit(error.with_fix) from error


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    streams: Streams = app.state.streams
    if threading.current_thread() is threading.main_thread():  # the process is a server's, not a test's
        streams.places.fit_to(allow_open_files() - files_for_others(app.state.settings))
        gc.freeze()  # modules and routes stay: collections, for which all requests wait, need not go through them
    with called_on_stop_signals(streams.stop):
        yield
    await cast(Ports, app.state.ports).objects.close()


@contextmanager
def called_on_stop_signals(stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` on SIGINT and SIGTERM before the server's own handlers.

    A server waits for open answers before it tells the application to shut down, so event streams that wait for that
    word would keep it for ever; the signal is the only earlier word there is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # a test client's thread: there are no signals here
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
