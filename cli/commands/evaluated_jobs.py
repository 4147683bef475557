"""Videos of jobs for `longtake evaluate`: downloaded into the output folder, with their prompts."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from client import Longtake
    from core.metrics.evaluation.inputs import Source
    from core.metrics.evaluation.results import Problem
    from core.metrics.video.seams import Borders
    from core.service.domain.schema import JobSpec


class Jobs:
    """The jobs of the service that the command line names. It is first talked to when a job is asked for."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._folder: Path = args.out / "videos"
        self._stack = ExitStack()
        self._client: Longtake | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def video_of(self, job_id: str) -> tuple[list[Source], list[Problem]]:
        """Wait until the job has ended, and save its video. What has none is a problem.

        Raises RequestFailed where the service cannot be asked, or refuses the key.
        """
        from client import ApiError, ApiUnreachable, KeyRefused
        from core.metrics.evaluation.results import Problem

        try:
            return [self._saved(job_id)], []
        except ApiUnreachable as error:
            raise ApiUnreachable(
                f"{job_id} is no file here, so it is taken for a job: {error}", fix=error.fix
            ) from error
        except KeyRefused:
            raise
        except ApiError as error:
            text = f"no file has this name, and of the service at {self._args.url}: {error}"
            return [], [Problem(input=job_id, kind="job_failed", text=text, is_skipped=True)]

    def _saved(self, job_id: str) -> Source:
        from cli.output.byte_meter import byte_meter
        from core.metrics.evaluation.inputs import Source

        job = self._connected().jobs.get(job_id)
        request = job.request
        borders = self._borders(request)
        variant = self._args.variant or ("refined" if job.request.refine is not None else "preview")
        path = self._folder / (f"{job_id}_refined.mp4" if variant == "refined" else f"{job_id}.mp4")
        self._folder.mkdir(parents=True, exist_ok=True)
        if not job.has_ended:
            print(f"waiting until {job_id} has ended", file=sys.stderr, flush=True)
        with byte_meter(sys.stderr) as report:
            job.save(path, variant, partial(report, f"saving {path.name}"))
        return Source(job_id, path, request.prompt, job_id, variant, request.prompt_changes, borders)

    def _borders(self, request: JobSpec) -> Borders | None:
        """Where the windows of a job's video begin; None if they blend into one another or the service does not say."""
        from core.metrics.video.seams import Borders
        from core.service.engines.capabilities import Capabilities

        try:
            capabilities = Capabilities.model_validate(self._models[request.model]["capabilities"])
        except (KeyError, ValueError):
            return None
        windows = capabilities.windows_of(request)
        return None if windows is None else Borders(windows.first, windows.later)

    @cached_property
    def _models(self) -> dict[str, dict[str, Any]]:
        """What the service says of its models, by name; asked once, for all jobs."""
        return {model.name: model.model_extra or {} for model in self._connected().models.list().models}

    def _connected(self) -> Longtake:
        from cli.commands.api import api_of

        if self._client is None:
            self._client = self._stack.enter_context(api_of(self._args))
        return self._client
