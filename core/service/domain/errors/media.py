"""Errors of input media: the image or video cannot be used and the job fails."""

from __future__ import annotations

from core.service.domain.errors.base import LongtakeError


class MediaError(LongtakeError):
    """The image or video cannot be used."""

    code = "media_error"


class MediaFetchFailed(MediaError):
    """The server of the image or video did not answer."""

    code = "media_fetch_failed"


class MediaUnavailable(MediaError):
    """The server of the image or video refused to send it."""

    code = "media_unavailable"


class MediaTooLarge(MediaError):
    """The image or video is larger than this service allows."""

    code = "media_too_large"


class MediaTypeRefused(MediaError):
    """The type of the image or video is not accepted."""

    code = "media_type_refused"


class MediaUnreadable(MediaError):
    """The image or video is damaged or truncated."""

    code = "media_unreadable"


class VideoTooShort(MediaError):
    """The video has too few frames to be continued."""

    code = "video_too_short"
