"""JSON lines: what a line has, one object a line, and no secret in it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from core.service.domain.schema import JobRecord
from core.service.logs import JsonLines, secrets_of, working_on
from core.service.redaction import without_secrets
from core.service.request_ids import working_for
from core.service.settings import Settings
from tests.helpers.webhook_office import secret_named


def line(message: str = "it went", *args: object, worker_id: str | None = None, **more: Any) -> dict[str, Any]:
    """The object that a record becomes."""
    record = logging.LogRecord("a.logger", logging.WARNING, "f", 1, message, args, more.get("exc_info"))
    record.created = 1_800_000_000.25
    text = JsonLines(worker_id).format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_outside_of_any_work() -> None:
    assert line("%s went", "it") == {
        "time": "2027-01-15T08:00:00.250+00:00",
        "level": "WARNING",
        "logger": "a.logger",
        "message": "it went",
    }


def test_a_line_names_what_it_was_written_for() -> None:
    with working_for("trace-7"), working_on("job_a", 0):
        inside = line(worker_id="w")
        with working_on("job_b"):
            assert (line()["job_id"], "chunk" in line()) == ("job_b", False)
    known = {name: inside[name] for name in ("request_id", "job_id", "chunk", "worker_id")}
    assert known == {"request_id": "trace-7", "job_id": "job_a", "chunk": 0, "worker_id": "w"}
    assert {"request_id", "job_id", "chunk"}.isdisjoint(line())


def test_an_id_of_a_request_that_is_a_secret_is_cut() -> None:
    record = logging.LogRecord("a.logger", logging.WARNING, "f", 1, "it went", (), None)
    for request_id, shown in (("the-key-of-the-operator", "..."), ("lt_0123456789abcdef", "lt_...")):
        with working_for(request_id):
            text = JsonLines(secrets=["the-key-of-the-operator"]).format(record)
        assert json.loads(text)["request_id"] == shown


def test_lines_of_a_message_stay_one_line() -> None:
    assert line('a "quoted"\nsecond line')["message"] == 'a "quoted"\nsecond line'


def test_a_traceback_is_in_the_line_without_its_secrets() -> None:
    try:
        raise RuntimeError("GET https://user:pass-7@s3.example/x?X-Amz-Signature=sign-7 failed")
    except RuntimeError as error:
        told = line(exc_info=(type(error), error, error.__traceback__))["error"]
    assert told.startswith("Traceback")
    assert "RuntimeError: GET https://...@s3.example/x?... failed" in told
    assert "-7" not in told


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        (
            '1.2.3.4:5 - "GET /jobs/a/events?token=6.abc&x=1 HTTP/1.1" 200',
            '1.2.3.4:5 - "GET /jobs/a/events?... HTTP/1.1" 200',
        ),
        ('"GET /jobs?bare HTTP/1.1"', '"GET /jobs?... HTTP/1.1"'),
        ("GET /jobs?q='x&api_key=SECRET HTTP/1.1", "GET /jobs?... HTTP/1.1"),
        ("GET /jobs?a=<b>&k=SECRET HTTP/1.1", "GET /jobs?... HTTP/1.1"),
        ("GET /'?k=SECRET HTTP/1.1", "GET /'?... HTTP/1.1"),
        ("redis://:pass@host:1/0 is away", "redis://...@host:1/0 is away"),
        ("redis://:pa'ss@h is away", "redis://...@h is away"),
        ("redis://u:p@ss@h is away", "redis://...@h is away"),
        ('redis://u:<p@"ss>@h/0 is away', "redis://...@h/0 is away"),
        ("https://h/a and mail@h", "https://h/a and mail@h"),
        ("sentinel://u:p@h1:1,h2:2/0?master=m&sentinel_password=p", "sentinel://...@h1:1,h2:2/0?..."),
        ("Authorization: Bearer abc.def-ghi/=", "Authorization: Bearer ..."),
        ("header b'authorization', b'Basic dXNlcjpwYXNz'", "header b'authorization', b'Basic ...'"),
        ("the key lt_0123456789abcdef_x was refused", "the key lt_... was refused"),
        ("whsec_AAAAAAAAAAAAAAAA", "whsec_..."),
        ("redis://:pa/ss@h/0 is away", "redis://...@h/0 is away"),
        ("redis://:pa?ss@h/0 is away", "redis://... is away"),
        ("sentinel://h1:1,h2:2/0?master=m&sentinel_password=p@ss", "sentinel://..."),
        ("https://h/@user/video and a@b", "https://h/@user/video and a@b"),
        ("GET https://u:p@h/@user", "GET https://...@h/@user"),
        ("GET /jobs/a%3Ftoken=6.abc HTTP/1.1", "GET /jobs/a%3F... HTTP/1.1"),
        ("Connection(host='h', password='p ss')", "Connection(host='h', password='...')"),
        ("{'aws_secret_access_key': 'abc/def+', 'n': 1}", "{'aws_secret_access_key': '...', 'n': 1}"),
        ('{"token":"6.abc"}', '{"token":"..."}'),
        ("(b'x-api-key', b'abc'), (b'a', b'b')", "(b'x-api-key', b'...'), (b'a', b'b')"),
        ("link_secret=abc token=6.x n=2", "link_secret=... token=... n=2"),
        (
            "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/2026/s3, Signature=ab\nnext",
            "Authorization: AWS4-HMAC-SHA256 ...\nnext",
        ),
        ("password: hunter2", "password: ..."),
        ("(pwd:p)ss-8)", "(pwd:..."),
        ("X-Api-Key: abcdefgh", "X-Api-Key: ..."),
        ("passphrase='a b', n=2", "passphrase='...', n=2"),
        ("{'private_key': 'a\"b'}", "{'private_key': '...'}"),
        ("Authorization: Token abcdefgh", "Authorization: Token ..."),
        ("{'Proxy-Authorization': 'Negotiate YIIabc'}", "{'Proxy-Authorization': 'Negotiate ...'}"),
        ("('authorization', 'abcdefgh')", "('authorization', '...')"),
        ('Authorization: Digest username="u", response="6"\nnext', "Authorization: Digest ...\nnext"),
        ("Cookie: session=abc; b=2\nnext", "Cookie: ...\nnext"),
        ("{'set-cookie': 'session=abc', 'n': 1}", "{'set-cookie': '...', 'n': 1}"),
        ("'auth': ('user', 'password')", "'auth': (...)"),
        (r"body {\"token\": \"abc\", \"n\": 1}", r'body {\"token\": \"...", \"n\": 1}'),
        ("hf_AbCdEfGhIjKlMnOpQrStUv was refused", "hf_... was refused"),
        ("AKIAIOSFODNN7EXAMPLE is unknown", "AKIA... is unknown"),
        ("sk-proj-abcdefgh12345678 is unknown", "sk-... is unknown"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2ln is over", "eyJ... is over"),
        ("http://user:p/w@host/x is away", "http://...@host/x is away"),
        ("http://host:80/@user and http://[::1]:80/@user", "http://host:80/@user and http://[::1]:80/@user"),
        ("hf_hub_download() of skimage", "hf_hub_download() of skimage"),
        ("LONGTAKE_WEBHOOK_SECRET: it is too short", "LONGTAKE_WEBHOOK_SECRET: it is too short"),
        ("the token of the lease is old: 3", "the token of the lease is old: 3"),
        ("is this right? yes, 3/4 of it", "is this right? yes, 3/4 of it"),
        ("chunk 3 of job_a: 16/16", "chunk 3 of job_a: 16/16"),
    ],
)
def test_secrets_are_cut_out_and_other_text_stays(text: str, cut: str) -> None:
    assert without_secrets(text) == cut


def test_input_that_pydantic_repeats_is_cut_out() -> None:
    """Of a record that cannot be read, say: its prompt, the webhook's URL, the secret of its links."""
    secret = "secret".upper()  # as no line of this file has it: tracebacks quote them
    with pytest.raises(ValidationError) as refused:
        JobRecord.model_validate({"prompt": f"a {secret} prompt", "created_at": f"{secret}\n{secret}"})
    assert secret in str(refused.value)
    told = line(exc_info=(ValidationError, refused.value, refused.value.__traceback__))["error"]
    assert "created_at" in told
    assert secret not in told


def test_secrets_of_the_settings_are_cut_out_wherever_they_are() -> None:
    settings = Settings(
        redis_url="redis://:one%2Fpassword@h/0",
        broker_url="sentinel://u:two-password@h1:1,h2:2/0?master=m&sentinel_password=three-password",
        s3_secret_access_key=SecretStr("four/secret"),
        admin_key=SecretStr("5" * 32),
        metrics_key=SecretStr("6" * 32),
        prompt_enhancer_key=SecretStr("sk-seven-seven"),
        webhook_secret=SecretStr(f"{secret_named('eight')} {secret_named('nine')}"),
    )
    known = secrets_of(settings)
    assert len(known) == 9 + 1, "the first as it is written, too"
    for secret in known:
        record = logging.LogRecord("a", logging.INFO, "f", 1, f"it said {secret}, twice {secret}", (), None)
        assert json.loads(JsonLines(secrets=known).format(record))["message"] == "it said ..., twice ..."


def test_short_passwords_cut_no_other_words() -> None:
    assert secrets_of(Settings(redis_url="redis://:redis@h/0")) == []


def test_warnings_and_what_ends_a_process_or_a_thread_are_lines_without_secrets() -> None:
    code = (
        "import sys, threading, warnings\n"
        "from core.service.logs import set_up_logs\n"
        "from core.service.settings import Settings\n"
        "set_up_logs(Settings(log_format='json', redis_url='redis://:the-password@h/0'), '%(message)s')\n"
        "warnings.warn('token=the-token')\n"
        "def fail(): raise RuntimeError('GET /a?token=the-token with the-password')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "fail()"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    warning, *lines = [json.loads(text) for text in told.stderr.splitlines()]
    assert warning["logger"] == "py.warnings"
    assert "the-token" not in told.stderr
    assert [(each["level"], each["message"]) for each in lines] == [("CRITICAL", "uncaught RuntimeError")] * 2
    assert all(each["error"].endswith("RuntimeError: GET /a?... with ...") for each in lines)
    assert (told.returncode, told.stdout) == (1, "")


@pytest.mark.parametrize(
    "part",
    [
        *("/", "a://", "://@", "x@", "?a ", "?", "bearer ", " ", "a+", "token", "token=", "'token'", "a@"),
        *("token: ", "token:", "token\\", "token: 'a", "cookie:'", "authorization: a ", "digest a", "auth: (", "eyJ-"),
        *("sk-", "hf_a", "AKIA", "pwd"),
    ],
)
def test_long_hostile_text_is_searched_in_linear_time(part: str) -> None:
    """A pattern that backtracks would take minutes: pytest's time limit fails the test."""
    without_secrets(f"bearer{40_000 * part}")
