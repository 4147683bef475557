"""The object reader: ranges, refusals, and answers that end early."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
import httpx
import pytest
from pydantic import SecretStr

from core.service.domain.errors import (
    ObjectDamaged,
    ObjectNotFound,
    RangeNotSatisfiable,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)
from core.service.domain.ports import ObjectPart
from core.service.s3.object_reader import S3ObjectReader
from core.service.s3.storage import S3Storage
from core.service.settings import Settings

DATA = bytes(range(100))
SETTINGS = Settings(
    s3_endpoint_url="http://127.0.0.1:9/",
    s3_public_endpoint_url="https://public.example",
    s3_access_key_id="key",
    s3_secret_access_key=SecretStr("secret"),
)


def read(answer: Callable[[httpx.Request], httpx.Response], byte_range: str | None = None) -> tuple[ObjectPart, bytes]:
    """The object a/1.mp4, or a range of it, from a server that answers so."""

    async def run() -> tuple[ObjectPart, bytes]:
        reader = S3ObjectReader(S3Storage(SETTINGS), httpx.MockTransport(answer))
        try:
            async with reader.open("a/1.mp4", byte_range) as part:
                return part, b"".join([piece async for piece in part.pieces])
        finally:
            await reader.close()

    return anyio.run(run)


def answered(status: int, content: bytes = b"", **headers: str) -> httpx.Response:
    told = {"content-length": str(len(content)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.Response(status, stream=httpx.ByteStream(content), headers=told)


def answering(status: int, content: bytes = b"", **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: answered(status, content, **headers)


def test_the_whole_is_asked_for_at_the_internal_address_with_a_signature() -> None:
    seen = list[httpx.Request]()

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answered(200, DATA)

    part, data = read(answer)
    assert (data, part.first_byte, part.last_byte, part.total_bytes, part.is_range) == (DATA, 0, 99, 100, False)
    assert seen[0].url.host == "127.0.0.1"
    assert "X-Amz-Signature" in seen[0].url.params
    assert "range" not in seen[0].headers


@pytest.mark.parametrize("status", [200, 206])
def test_a_range_is_one_whatever_its_status(status: int) -> None:
    part, data = read(answering(status, DATA[10:20], content_range="bytes 10-19/100"), "10-19")
    assert (data, part.first_byte, part.last_byte, part.total_bytes, part.is_range) == (DATA[10:20], 10, 19, 100, True)


def test_a_server_that_knows_no_ranges_gives_the_whole() -> None:
    part, data = read(answering(200, DATA), "10-19")
    assert (data, part.is_range) == (DATA, False)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, ObjectNotFound),
        (403, StorageMisconfigured),
        (301, StorageMisconfigured),
        (429, StorageUnavailable),
        (500, StorageUnavailable),
        (503, StorageUnavailable),
    ],
)
def test_a_refusal_is_named(status: int, error: type[StorageError]) -> None:
    with pytest.raises(error):
        read(answering(status))


def test_a_range_beyond_the_end_is_answered_with_the_size_if_known() -> None:
    with pytest.raises(RangeNotSatisfiable) as told:
        read(answering(416, content_range="bytes */100"), "200-")
    assert told.value.total_bytes == 100
    with pytest.raises(RangeNotSatisfiable) as untold:
        read(answering(416), "200-")
    assert untold.value.total_bytes is None


def test_lengths_that_do_not_fit_are_damage() -> None:
    with pytest.raises(ObjectDamaged):
        read(answering(206, DATA[10:20], content_range="bytes 10-29/100"), "10-29")


@pytest.mark.parametrize("length", [None, "-1", "many", "", "3, 3", "9" * 5000])
def test_a_length_that_is_missing_or_no_number_is_damage(length: str | None) -> None:
    headers = {} if length is None else {"content-length": length}
    with pytest.raises(ObjectDamaged):
        read(lambda _: httpx.Response(200, headers=headers, stream=httpx.ByteStream(b"abc")))


def test_a_server_that_is_away_is_named() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(StorageUnavailable):
        read(answer)


def test_bytes_that_stop_coming_are_an_outage() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield DATA[:50]
        raise httpx.ReadError("reset")

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-length": "100"}, content=broken())

    with pytest.raises(StorageUnavailable):
        read(answer)
