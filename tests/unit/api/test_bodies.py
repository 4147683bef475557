"""Errors in the bytes of a body name the byte, encoding or key."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.helpers.api_world import PROMPT

JSON = "application/json"
BODY = '{"prompt": "a café"}'


def refused(api: TestClient, body: bytes, content_type: str = JSON, **headers: str) -> dict[str, Any]:
    answer = api.post("/jobs", content=body, headers={"Content-Type": content_type, **headers})
    assert answer.status_code in {400, 415}, answer.text
    return {"status": answer.status_code, **answer.json(), "accepts": answer.headers.get("accept-encoding", "")}


def test_a_latin_1_body_is_told_by_byte_and_declared_charset(api: TestClient) -> None:
    told = refused(api, BODY.encode("latin-1"), f"{JSON}; charset=iso-8859-1")
    assert (told["status"], told["code"]) == (400, "malformed_json")
    assert told["detail"] == "the body is not UTF-8 at byte 17 (0xE9); the header declares the charset iso-8859-1"
    assert "UTF-8" in told["fix"]
    assert "declares" not in refused(api, BODY.encode("latin-1"))["detail"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_wide_encoding_is_named(api: TestClient, encoding: str) -> None:
    assert encoding[:6].upper() in refused(api, BODY.encode(encoding))["detail"]


def test_a_byte_order_mark_of_utf_8_is_passed_over_and_counted(api: TestClient) -> None:
    headers = {"Content-Type": JSON}
    assert api.post("/jobs", content=BODY.encode("utf-8-sig"), headers=headers).status_code == 202
    assert "at byte 4 (0xFF)" in refused(api, b"\xef\xbb\xbf{\xff}")["detail"]


def test_a_wrong_charset_header_does_no_harm_where_the_body_is_utf_8(api: TestClient) -> None:
    answer = api.post("/jobs", content=BODY.encode(), headers={"Content-Type": f"{JSON}; charset=latin1"})
    assert (answer.status_code, answer.json()["request"]["prompt"]) == (202, "a café")


@pytest.mark.parametrize("body", [b"", b" \r\n", b"\xef\xbb\xbf"])
def test_an_empty_body_is_called_empty(api: TestClient, body: bytes) -> None:
    assert refused(api, body)["detail"] == "the body is empty"


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ('{"prompt": "a", "seed": 1, "seed": 2}', "seed"),
        ('{"prompt": "a", "metadata": {"k": "1", "k": "1"}}', "k"),
        ('{"prompt": "a", "\\u0070rompt": "b"}', "prompt"),
    ],
)
def test_a_key_given_twice_is_named(api: TestClient, body: str, key: str) -> None:
    told = refused(api, body.encode())
    assert (told["code"], told["field"], told["detail"]) == ("malformed_json", key, f"the key {key} is given twice")


def test_many_equal_keys_are_refused_at_once(api: TestClient) -> None:
    body = "{" + ",".join(f'"{number}":0' for number in range(6000)) + ',"5999":0}'
    assert refused(api, body.encode())["field"] == "5999"


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "x" * 5000])
def test_a_compressed_body_is_refused_and_accept_encoding_says_what_is_accepted(api: TestClient, encoding: str) -> None:
    told = refused(api, b"\x1f\x8b\x08", **{"Content-Encoding": encoding})
    assert (told["status"], told["code"], told["accepts"]) == (415, "content_encoding_not_supported", "identity")


def test_identity_is_no_compression(api: TestClient) -> None:
    headers = {"Content-Type": JSON, "Content-Encoding": "identity"}
    assert api.post("/jobs", content=json.dumps({"prompt": PROMPT}).encode(), headers=headers).status_code == 202


@pytest.mark.parametrize(
    ("body", "words"),
    [(b'{"a":' * 9000, "nested too deeply"), (b'{"seed": ' + b"1" * 5000 + b"}", "digits"), (b'{"seed": NaN}', "NaN")],
)
def test_what_json_readers_choke_on_is_said_in_words(api: TestClient, body: bytes, words: str) -> None:
    assert words in refused(api, body)["detail"]


def test_of_thousands_of_unknown_fields_only_some_are_listed(api: TestClient) -> None:
    body = {f"field_{number}": 0 for number in range(3000)}
    answer = api.post("/jobs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")
    assert len(answer.json()["errors"]) == 50
