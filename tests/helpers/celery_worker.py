"""A Celery worker in a thread of the test's process, with the settings of ours."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from celery import Celery, signals
from celery.contrib.testing.worker import start_worker


@contextmanager
def working(app: Celery, task: str, work: Callable[..., None], *queues: str) -> Generator[None]:
    """A worker that does `work` for `task`. Not shared: other tests have other apps."""
    app.task(name=task, shared=False)(work)
    signals.setup_logging.connect(_keep_logging, weak=False)
    start = cast(Callable[..., AbstractContextManager[Any]], start_worker)  # annotated wrongly as an iterable
    with start(app, perform_ping_check=False, pool="threads", concurrency=1, queues=list(queues)):
        yield


def _keep_logging(**_: object) -> None:
    """With a receiver connected Celery leaves the logging of this process, which runs other tests too, alone."""
