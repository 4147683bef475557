"""Allowed uploads, and media references of jobs."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from core.service.admission.media_references import ReferenceCheck, shown
from core.service.domain.errors import (
    InvalidField,
    MediaUrlRefused,
    RequestError,
    UploadIncomplete,
    UploadNotFound,
    UploadTooLarge,
)
from core.service.domain.ids import is_upload_id, new_upload_id
from core.service.domain.media_types import MediaKind
from core.service.domain.uploads import Upload, upload_id_of_key, upload_key
from core.service.media.uploads import UploadRequest, new_upload
from core.service.settings import Settings
from core.service.testing.clock import FAKE_START, FakeClock
from core.service.testing.registries import FakeUploadStore
from core.service.testing.storage import FakeStorage

SETTINGS = Settings()


class Door:
    """A reference check over fakes, with an upload of ten bytes of MP4."""

    def __init__(self) -> None:
        self.clock, self.storage, self.uploads = FakeClock(), FakeStorage(), FakeUploadStore()
        self.upload = new_upload(UploadRequest(content_type="video/mp4", size_bytes=10), SETTINGS, self.clock.now())
        self.uploads.create(self.upload)
        self.check = ReferenceCheck(self.uploads, self.storage, self.clock, SETTINGS, lambda _host, _port: ["8.8.8.8"])

    def send(self, num_bytes: int = 10) -> None:
        self.storage.put(self.upload.key, bytes(num_bytes), "video/mp4")

    def refusal(self, reference: str, kind: MediaKind = MediaKind.VIDEO) -> RequestError:
        with pytest.raises(RequestError) as caught:
            self.check(kind, reference, kind.value)
        assert caught.value.field == kind
        assert caught.value.fix
        return caught.value


@pytest.fixture
def door() -> Door:
    return Door()


def test_an_upload_lives_as_long_as_the_settings_say() -> None:
    upload = new_upload(UploadRequest(content_type="image/png", size_bytes=1), SETTINGS, FAKE_START)
    assert upload.expires_at == FAKE_START + timedelta(seconds=SETTINGS.upload_retention_seconds)
    assert (upload.kinds, upload.key) == ({MediaKind.IMAGE}, f"uploads/{upload.id}")


def test_other_types_and_larger_files_are_refused() -> None:
    with pytest.raises(InvalidField, match="image/gif") as of_type:
        new_upload(UploadRequest(content_type="image/gif", size_bytes=1), SETTINGS, FAKE_START)
    assert "video/webm" in str(of_type.value.fix)
    for content_type, most in (("image/png", SETTINGS.max_image_bytes), ("video/mp4", SETTINGS.max_video_bytes)):
        new_upload(UploadRequest(content_type=content_type, size_bytes=most), SETTINGS, FAKE_START)
        with pytest.raises(UploadTooLarge, match=str(most)):
            new_upload(UploadRequest(content_type=content_type, size_bytes=most + 1), SETTINGS, FAKE_START)


@pytest.mark.parametrize("declared", ["video/webm;codecs=vp8,opus", "VIDEO/MP4", "video/x-matroska;codecs=avc1"])
def test_a_type_is_taken_as_a_browser_calls_it_and_kept_letter_by_letter(declared: str) -> None:
    upload = new_upload(UploadRequest(content_type=declared, size_bytes=1), SETTINGS, FAKE_START)
    assert (upload.content_type, upload.kinds) == (declared, {MediaKind.VIDEO})


@pytest.mark.parametrize("declared", ["video/mp4\r\nx-amz-acl: public-read", "video/mp4;  a=b", "video/mp4;a=\u00e9"])
def test_a_type_that_cannot_be_sent_as_a_header_is_refused(declared: str) -> None:
    with pytest.raises(InvalidField, match="content_type"):
        new_upload(UploadRequest(content_type=declared, size_bytes=1), SETTINGS, FAKE_START)


def test_an_upload_of_unknown_type_serves_as_either_kind_within_the_limits_of_that_kind(door: Door) -> None:
    for size_bytes, is_small in ((10, True), (SETTINGS.max_image_bytes + 1, False)):
        request = UploadRequest(content_type="application/octet-stream", size_bytes=size_bytes)
        upload = new_upload(request, SETTINGS, FAKE_START)
        door.uploads.create(upload)
        door.storage.put(upload.key, bytes(size_bytes), "application/octet-stream")
        door.check(MediaKind.VIDEO, upload.id, "video")
        if is_small:
            door.check(MediaKind.IMAGE, upload.id, "image")
        else:
            assert isinstance(door.refusal(upload.id, MediaKind.IMAGE), UploadTooLarge)


def test_ids_are_known_by_their_form() -> None:
    made = {new_upload_id() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"upl_[a-z2-7]{20}", one) and is_upload_id(one) for one in made)
    assert not any(map(is_upload_id, ["", "upl_", "upl_" + "a" * 19, "upl_" + "A" * 20, "job_" + "a" * 20]))


def test_keys_of_uploads_are_known() -> None:
    upload_id = new_upload_id()
    assert upload_id_of_key(upload_key(upload_id)) == upload_id
    assert upload_id_of_key("uploads/else") is None
    assert upload_id_of_key(upload_id) is None


def test_an_upload_that_was_sent_may_be_named(door: Door) -> None:
    door.send()
    door.check(MediaKind.VIDEO, door.upload.id, "video")


def test_an_upload_that_was_not_sent_may_not(door: Door) -> None:
    assert isinstance(door.refusal(door.upload.id), UploadIncomplete)


@pytest.mark.parametrize("num_bytes", [9, 11])
def test_an_upload_of_another_size_than_declared_may_not(door: Door, num_bytes: int) -> None:
    door.send(num_bytes)
    assert f"has {num_bytes} bytes, not the 10" in door.refusal(door.upload.id).message


@pytest.mark.parametrize("reference", ["upl_" + "a" * 20, "upl_x", "upl_../jobs/a"])
def test_an_unknown_upload_may_not(door: Door, reference: str) -> None:
    assert isinstance(door.refusal(reference), UploadNotFound)


def test_an_upload_whose_time_is_over_may_not(door: Door) -> None:
    door.send()
    door.clock.advance(SETTINGS.upload_retention_seconds - 1)
    door.check(MediaKind.VIDEO, door.upload.id, "video")
    door.clock.advance(1)
    assert isinstance(door.refusal(door.upload.id), UploadNotFound)


def test_a_video_is_no_image(door: Door) -> None:
    door.send()
    assert "video/mp4" in door.refusal(door.upload.id, MediaKind.IMAGE).message


def test_an_object_of_a_type_that_is_not_taken_serves_no_job(door: Door) -> None:
    strange = Upload.model_validate(door.upload.model_dump() | {"content_type": "text/html"})
    door.uploads.create(strange)
    door.send()
    assert isinstance(door.refusal(strange.id), InvalidField)


def test_public_urls_may_be_named(door: Door) -> None:
    door.check(MediaKind.IMAGE, "https://example.com/a.png?key=1", "image")


@pytest.mark.parametrize(
    "url", ["ftp://example.com/a", "a.png", "https://user:pass@example.com/", "file:///etc/hostname"]
)
def test_other_urls_may_not(door: Door, url: str) -> None:
    assert isinstance(door.refusal(url), MediaUrlRefused)


def test_private_addresses_need_the_operator_s_setting(door: Door) -> None:
    def private(_host: str, _port: int) -> list[str]:
        return ["10.0.0.1"]

    check = ReferenceCheck(door.uploads, door.storage, door.clock, SETTINGS, private)
    with pytest.raises(MediaUrlRefused) as caught:
        check(MediaKind.IMAGE, "https://intranet.test/a.png", "image")
    assert (caught.value.field, caught.value.code) == ("image", "media_url_refused")
    assert "LONGTAKE_MEDIA_ALLOW_PRIVATE_ADDRESSES" in str(caught.value.fix)
    allowing = SETTINGS.model_copy(update={"media_allow_private_addresses": True})
    ReferenceCheck(door.uploads, door.storage, door.clock, allowing, private)(
        MediaKind.IMAGE, "https://intranet.test/", "image"
    )


def test_logs_show_no_query() -> None:
    assert shown("https://example.com/a.mp4?X-Amz-Signature=secret#x") == "https://example.com/a.mp4?..."
    assert shown("https://example.com/a.mp4#secret") == "https://example.com/a.mp4?..."
    assert shown("upl_a") == "upl_a"
