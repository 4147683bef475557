"""Decoding in its own process: the same pixels, and every way in which the process can end."""

from __future__ import annotations

import errno
import os
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.service.domain.errors import (
    Interrupted,
    MediaError,
    MediaTooLarge,
    MediaTypeRefused,
    MediaUnreadable,
    VideoTooShort,
)
from core.service.domain.media_types import MediaKind
from core.service.domain.schema import JobWarning
from core.service.settings import Settings
from tests.helpers.clips import clip, picture
from tests.helpers.deadline import eventually
from tests.helpers.jobs import job_spec
from worker.media.decode import DecodeRequest, decode_media, decode_request
from worker.media.decode_process import START_SECONDS, STARTED
from worker.media.decoder_pool import DecoderPool, DecodingStalled

ODD = JobWarning(code="odd", message="it is odd", field="video")


def order_for(
    folder: Path, data: bytes, kind: MediaKind = MediaKind.VIDEO, owner: str = "", **limits: float
) -> DecodeRequest:
    folder.mkdir(exist_ok=True)
    (folder / "input").write_bytes(data)
    return decode_request(kind, folder, job_spec(), (64, 64), Settings().model_copy(update=limits), owner)


def nothing() -> None: ...


def program(text: str, start_seconds: float = START_SECONDS) -> DecoderPool:
    """In place of the real program, one that does this."""
    return DecoderPool(1, [sys.executable, "-c", text], start_seconds)


@pytest.mark.parametrize("kind", MediaKind)
def test_the_pixels_are_those_of_decoding_here(tmp_path: Path, kind: MediaKind) -> None:
    video = clip(tmp_path / "a.mp4", 40, fps=8, height=64, width=64).read_bytes()
    data = video if kind is MediaKind.VIDEO else picture((200, 100, 50))
    apart, here = order_for(tmp_path / "apart", data, kind), order_for(tmp_path / "here", data, kind)
    assert DecoderPool(1)(apart, nothing) == decode_media(here, nothing)
    assert apart.result.read_bytes() == here.result.read_bytes()


def test_its_errors_are_raised_here(tmp_path: Path) -> None:
    short = clip(tmp_path / "b.mp4", 9, fps=8).read_bytes()
    refused: list[tuple[bytes, MediaKind, type[MediaError], str]] = [
        (short, MediaKind.VIDEO, VideoTooShort, "has 9 frames"),
        (picture((1, 2, 3))[:60], MediaKind.IMAGE, MediaUnreadable, "damaged"),
    ]
    for data, kind, error, words in refused:
        with pytest.raises(error, match=words) as raised:
            DecoderPool(1)(order_for(tmp_path / "x", data, kind), nothing)
        assert raised.value.fix


def test_more_memory_than_allowed_fails_the_job_that_wants_it(tmp_path: Path) -> None:
    large = picture((1, 2, 3), size=(8000, 5000))
    order = order_for(tmp_path / "x", large, MediaKind.IMAGE, media_decode_memory_bytes=100_000_000)
    with pytest.raises(MediaTooLarge, match="memory"):
        DecoderPool(1)(order, nothing)


def test_a_crash_of_the_decoder_fails_only_its_file(tmp_path: Path) -> None:
    crash = program(f"import os; print('{STARTED}', flush=True); os.abort()")
    with pytest.raises(MediaUnreadable, match="crashes the decoder"):
        crash(order_for(tmp_path / "x", b"?"), nothing)


def test_a_program_that_cannot_start_is_not_the_files_fault(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cannot start"):
        program("raise SystemExit(1)")(order_for(tmp_path / "x", b"?"), nothing)


def test_a_decoder_that_hangs_is_ended_after_its_wall_clock_time(tmp_path: Path) -> None:
    order = order_for(tmp_path / "x", b"?", media_decode_timeout_seconds=0.2)
    decode = program(hangs(tmp_path), start_seconds=0.5)

    def wait_for_its_begin() -> None:
        eventually(lambda: has_begun(tmp_path), "the program to begin")

    with pytest.raises(DecodingStalled, match="did not end within"):
        decode(order, wait_for_its_begin)
    assert not is_alive(tmp_path)


def test_a_decoder_out_of_processor_time_fails_its_file(tmp_path: Path) -> None:
    """With the real limits, and a decoder that never looks at the time itself."""
    spin = "d.decode_media = lambda order, tick: all(iter(lambda: 1, 0))"
    decode = DecoderPool(1, [sys.executable, "-c", f"import worker.media.decode_process as d; {spin}; d.main()"])
    with pytest.raises(MediaTooLarge, match="to decode"):
        decode(order_for(tmp_path / "x", b"?", media_decode_timeout_seconds=0.5), nothing)


def test_hanging_decoders_of_one_owner_leave_a_slot_to_others(tmp_path: Path) -> None:
    told = "import json, signal, sys; order = json.load(sys.stdin); 'bad' in order['file'] and signal.pause()"
    decode = DecoderPool(2, [sys.executable, "-c", f"{told}; print(json.dumps({{'warnings': []}}))"])
    stopped = threading.Event()

    def stop() -> None:
        if stopped.is_set():
            raise Interrupted

    def hang(number: int) -> None:
        with pytest.raises(Interrupted):
            decode(order_for(tmp_path / f"bad-{number}", b"?", owner="bad"), stop)

    threads = [threading.Thread(target=hang, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: any(tmp_path.glob("bad-*/answer")), "one to begin")
    for number in range(2):
        assert decode(order_for(tmp_path / f"good-{number}", b"?", owner="good"), nothing) == ()
    assert len(list(tmp_path.glob("bad-*/answer"))) == 1
    stopped.set()
    for thread in threads:
        thread.join()


def test_a_stopped_worker_waits_for_no_decoder(tmp_path: Path) -> None:
    def stop() -> None:
        if has_begun(tmp_path):
            raise Interrupted

    with pytest.raises(Interrupted):
        program(hangs(tmp_path))(order_for(tmp_path / "x", b"?"), stop)
    assert not is_alive(tmp_path)


def test_a_full_disk_has_its_own_error(tmp_path: Path) -> None:
    full = program(f"""print('{{"errno": {errno.ENOSPC}}}')""")
    with pytest.raises(OSError) as raised:  # noqa: PT011 - its number is looked at
        full(order_for(tmp_path / "x", b"?"), nothing)
    assert raised.value.errno == errno.ENOSPC


def test_it_is_given_no_keys_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LONGTAKE_S3_SECRET_ACCESS_KEY", "AZURE_CLIENT_SECRET", "REDIS_URL", "MY_TOKEN"):
        monkeypatch.setenv(name, "s3cr3t")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    told = "{'code': 'media_type_refused', 'message': str(sorted(os.environ)), 'fix': ''}"
    tell = program(f"import json, os; print(json.dumps({told}))")
    with pytest.raises(MediaTypeRefused) as raised:
        tell(order_for(tmp_path / "x", b"?"), nothing)
    allowed = r"(PATH|LD_LIBRARY_PATH|LANG|TMPDIR|HOME|VIRTUAL_ENV|PYTHON\w*|LC_\w+)"
    names = raised.value.message.strip("[]").replace("'", "").split(", ")
    assert [name for name in names if not re.fullmatch(allowed, name)] == []
    assert "LC_ALL" in names


def test_only_so_many_at_a_time(tmp_path: Path) -> None:
    decode = DecoderPool(1, [sys.executable, "-c", hangs(tmp_path)])
    stopped = threading.Event()

    def stop() -> None:
        if stopped.is_set():
            raise Interrupted

    def wait() -> None:
        with pytest.raises(Interrupted):
            decode(order_for(tmp_path / "x", b"?"), stop)

    first = threading.Thread(target=wait)
    first.start()
    eventually((tmp_path / "pid").exists, "the first to begin")
    calls: list[int] = []

    def second() -> None:
        calls.append(1)
        if len(calls) > 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        decode(order_for(tmp_path / "y", b"?"), second)
    assert not (tmp_path / "y" / "answer").exists(), "it was not begun"
    stopped.set()
    first.join()


def hangs(folder: Path) -> str:
    """A program that says who it is, and then nothing."""
    return f"import os, signal; open({str(folder / 'pid')!r}, 'w').write(str(os.getpid())); signal.pause()"


def has_begun(folder: Path) -> bool:
    return (folder / "pid").exists() and bool((folder / "pid").read_text())


def is_alive(folder: Path) -> bool:
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_warnings_are_handed_on(tmp_path: Path) -> None:
    warns = program(f"import json; print(json.dumps({{'warnings': [{ODD.model_dump()!r}]}}))")
    found: Sequence[JobWarning] = warns(order_for(tmp_path / "x", b"?"), nothing)
    assert found == (ODD,)
