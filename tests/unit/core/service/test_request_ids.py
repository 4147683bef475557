"""Request ids: which of a client's are taken, and where they appear in log lines."""

import logging

import pytest

from core.service.request_ids import LOG_SUFFIX, accepted_request_id, current_request_id, working_for
from tests.helpers.log_records import request_ids_in_log_records

KEY = "lt_0123456789abcdef_x"


def line() -> str:
    record = logging.getLogRecordFactory()("x", logging.INFO, "f", 1, "%s went", ("it",), None)
    return logging.Formatter(f"%(message)s{LOG_SUFFIX}").format(record)


@pytest.mark.parametrize("given", ["a", "3f2-A_b.c", "x" * 128, "result_12345678", "lt_1"])
def test_a_valid_id_of_the_client_is_taken(given: str) -> None:
    assert accepted_request_id(given) == given


@pytest.mark.parametrize(
    "given", [None, "", "x" * 129, "a b", "a\nb", "ä", "a/b", "a\x1b[31m", "٣", KEY, f"trace-{KEY}", "whsec_AAAAAAAA"]
)
def test_any_other_is_replaced_by_a_new_one(given: str | None) -> None:
    made = {accepted_request_id(given) for _ in range(10)}
    assert len(made) == 10
    assert all(accepted_request_id(one) == one for one in made)


def test_log_lines_name_the_request_within_it_and_nothing_outside() -> None:
    with request_ids_in_log_records():
        with working_for("outer"):
            with working_for("inner"):
                assert (current_request_id(), line()) == ("inner", "it went [request inner]")
            assert line() == "it went [request outer]"
            with working_for(None):
                assert line() == "it went"
        assert (current_request_id(), line()) == (None, "it went")
