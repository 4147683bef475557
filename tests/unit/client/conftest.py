"""Jobs as the API would show them: the fixture `make_job`."""

from tests.helpers.shown_jobs import make_job

__all__ = ["make_job"]
