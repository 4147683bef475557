"""Makes the API: `uvicorn --factory api.app:create_app`. Puts routes, ports, errors and documents together.

Never imports torch or the worker, so that it starts in a moment and fits on the smallest machine.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

from fastapi import FastAPI

from api import openapi, problems
from api.cross_origin import OpenMedia
from api.ports import Ports, real_ports
from api.readiness import Probes, health_of
from api.routes import events, health, home, jobs, media, models, problems_page, uploads
from api.sse import Rhythm, Streams
from core.service.errors import SetupError
from core.service.settings import Settings, read_settings


def create_app(settings: Settings | None = None, ports: Ports | None = None, rhythm: Rhythm | None = None) -> FastAPI:
    """The application. Without `settings` they come from the environment; without `ports` the real ones are made."""
    settings = settings or _settings_of_environment()
    app = FastAPI(
        title="Longtake",
        summary="Long videos from text, watched while they are made.",
        description=openapi.DESCRIPTION,
        version=openapi.api_version(),
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.ports = ports = ports or real_ports(settings)
    app.state.probes = Probes(ports.health or health_of(ports.store, ports.workers, ports.storage))
    app.state.streams = Streams(rhythm)
    for module in (jobs, uploads, media, events, models, health, home, problems_page):
        app.include_router(module.router)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(OpenMedia)
    return app


def _settings_of_environment() -> Settings:
    """A variable that is wrong ends the server with one sentence, instead of a traceback with what is in it."""
    try:
        return read_settings()
    except SetupError as error:
        raise SystemExit(error.with_fix) from error


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    streams: Streams = app.state.streams
    with called_on_stop_signals(streams.stop):
        yield


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
