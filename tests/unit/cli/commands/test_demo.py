"""`longtake demo`: what ends its wait for a job. That the demo works is shown by integration tests."""

from __future__ import annotations

import pytest

from cli.commands.demo import checked
from core.service.domain.errors import SetupError
from tests.helpers.shown_jobs import MakeJob


def test_a_dead_process_of_the_stack_ends_the_wait(make_job: MakeJob) -> None:
    def check() -> None:
        raise SetupError("the API ended with signal 9")

    with pytest.raises(SetupError, match="signal 9"):
        list(checked([make_job()], check))
