"""All settings of a deployment, from environment variables with prefix LONGTAKE_. The only reader of the environment.

docs/settings.md is generated from this class: `python -m tests.docs`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.service.domain.addresses import base_url, host_names, networks, origins
from core.service.domain.errors import SetupError
from core.service.domain.first_chunk_sources import source_name
from core.service.domain.s3_addressing import Addressing
from core.service.domain.url_ports import DEFAULT_URL_PORTS, port_list
from core.service.domain.webhook_secret import usable_secret

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SHIPPED_PRESETS_DIR = Path(__file__).resolve().parents[1] / "model" / "presets"

MEDIA_DISK_KEPT_FREE = 8
"""One part in so many of `media_disk_bytes` is for small files only."""
_SIZES_OF_MEDIA = frozenset({"max_image_bytes", "max_image_pixels", "max_video_bytes"})
_FRAMES_BYTES = 16 * 1920 * 1080 * 3
"""The frames that are made of a video, at the size of a large preset."""


def _log_level(text: str) -> str:
    if text.upper() not in LOG_LEVELS:
        raise ValueError(f"use one of {', '.join(LOG_LEVELS)}")
    return text.upper()


class Settings(BaseSettings):
    """One frozen object, made once by each process's entry point and passed on."""

    model_config = SettingsConfigDict(env_prefix="LONGTAKE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0", description="Records, events, leases; may be sentinel://."
    )
    broker_url: str = Field(
        default="redis://127.0.0.1:6379/1", description="Celery's own Redis database; may be sentinel://."
    )
    s3_endpoint_url: str | None = Field(default=None, description="S3 server as workers and API reach it; unset: AWS.")
    s3_public_endpoint_url: str | None = Field(
        default=None, description="The same as clients reach it; unset: s3_endpoint_url."
    )
    s3_bucket: str = Field(default="longtake", description="Bucket of all objects.")
    s3_access_key_id: str | None = Field(default=None, description="Access key; unset: boto3's own credential chain.")
    s3_secret_access_key: SecretStr | None = Field(default=None, description="Secret of the access key.")
    s3_addressing: Addressing = Field(
        default="path", description="path, virtual (bucket in the host name) or auto; some providers take only one."
    )
    s3_region: str = Field(default="us-east-1", description="Region used for signing.")
    url_ttl_seconds: Annotated[int, Field(ge=60, le=604800)] = Field(
        default=3600, description="Least life of a presigned URL."
    )
    public_base_url: Annotated[str, AfterValidator(base_url)] | None = Field(
        default=None, description="Base of links in answers; unset: from the request."
    )
    allowed_hosts: Annotated[str, AfterValidator(host_names)] | None = Field(
        default=None,
        description="Names in the Host header that are answered, with commas; `*.example.com`, `*`: any. Always: "
        "addresses, names without a dot, the host of LONGTAKE_PUBLIC_BASE_URL.",
    )
    cors_origins: Annotated[str, AfterValidator(origins)] | None = Field(
        default=None,
        description="Origins whose pages may use the API, with commas; `*`: any. Unset: only media is open, to all.",
    )
    trusted_proxies: Annotated[str, AfterValidator(networks)] | None = Field(
        default=None,
        description="Addresses and networks of proxies, with commas, whose X-Forwarded-* or Forwarded headers count.",
    )
    request_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=20.0, description="Time from a request's first byte to its last; then 408."
    )
    keep_alive_seconds: Annotated[int, Field(ge=1)] = Field(
        default=75, description="How long an idle connection is kept; longer than a proxy in front keeps it."
    )
    media: Literal["proxy", "redirect"] = Field(
        default="redirect",
        description="proxy: the API sends videos itself (`up` does); redirect: 307 to the S3 server.",
    )
    max_media_streams: Annotated[int, Field(ge=1)] = Field(
        default=256, description="Videos and chunks that one API process sends at a time; more get 503."
    )
    max_media_streams_per_address: Annotated[int, Field(ge=1)] = Field(
        default=64, description="Of these to one address (of IPv6: its /64) at which another gets 429."
    )
    media_stall_seconds: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="A client that takes nothing of any answer for this long is let go."
    )
    playlist_wait_seconds: Annotated[float, Field(ge=0)] = Field(
        default=60.0, description="How long a playlist is held back until there is a first chunk."
    )
    max_playlist_waits: Annotated[int, Field(ge=0)] = Field(
        default=200, description="Playlists held back at a time in one API process; more are answered at once."
    )
    max_playlist_waits_per_address: Annotated[int, Field(ge=0)] = Field(
        default=50, description="Of these of one address (of IPv6: its /64); more are answered at once."
    )
    presets_dir: Path = Field(default=SHIPPED_PRESETS_DIR, description="Folder of presets.")
    weights_dir: Path = Field(default=Path("~/.cache/longtake"), description="Folder of downloaded weights.")
    first_chunk_source: Annotated[str, AfterValidator(source_name)] | None = Field(
        default=None, description="animatediff, svd or diffusers:ORG/NAME for the first 16 frames; unset: the preset's."
    )
    default_model: str = Field(default="sprites", description="Preset of requests that name none.")
    default_num_frames: Annotated[int, Field(ge=16)] = Field(
        default=48, description="Length of requests that name none."
    )
    max_frames: Annotated[int, Field(ge=16)] = Field(default=9600, description="Longest video accepted.")
    max_inference_steps: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=100, description="Most denoising steps per window; a model's own default is always allowed."
    )
    max_first_chunk_steps: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=100, description="Most denoising steps of the first chunk; likewise."
    )
    max_refine_steps: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=50, description="Most denoising steps per refinement window; likewise."
    )
    max_refine_pixels: Annotated[int, Field(ge=1)] = Field(
        default=1280 * 720, description="Most pixels of a refined frame; likewise."
    )
    max_lockstep_frames: Annotated[int, Field(ge=16)] = Field(
        default=480, description="Longest video refined in lockstep: each of its steps goes over all frames at once."
    )
    max_queued_jobs: Annotated[int, Field(ge=1)] = Field(
        default=10000, description="Jobs not yet ended at which POST answers 503."
    )
    max_event_streams: Annotated[int, Field(ge=1)] = Field(
        default=5000, description="Event streams open in one API process at which another gets 503."
    )
    max_event_streams_per_address: Annotated[int, Field(ge=1)] = Field(
        default=2500, description="Of these from one address (of IPv6: its /64) at which another gets 429."
    )
    retention_seconds: Annotated[int, Field(ge=60)] = Field(
        default=7 * 86400, description="How long an ended job and its objects are kept."
    )
    upload_ttl_seconds: Annotated[int, Field(ge=60, le=604800)] = Field(
        default=3600, description="How long an upload's URL takes the file."
    )
    upload_retention_seconds: Annotated[int, Field(ge=60)] = Field(
        default=86400, description="How long an upload may be named in new jobs; then it is removed."
    )
    max_uploads: Annotated[int, Field(ge=1)] = Field(
        default=1000, description="Uploads kept at which POST /uploads answers 503."
    )
    max_uploads_per_client: Annotated[int, Field(ge=1)] = Field(
        default=100, description="Uploads kept of one client's address at which POST /uploads answers it 429."
    )
    max_image_bytes: Annotated[int, Field(ge=1)] = Field(default=20_000_000, description="Largest image file taken.")
    max_video_bytes: Annotated[int, Field(ge=1, le=5_000_000_000)] = Field(
        default=500_000_000, description="Largest video file taken."
    )
    max_image_pixels: Annotated[int, Field(ge=1, le=89_000_000)] = Field(
        default=40_000_000, description="Most pixels of an image, checked before it is decoded."
    )
    max_video_pixels: Annotated[int, Field(ge=1)] = Field(
        default=4096 * 2304, description="Most pixels of a video's frame, checked before it is decoded."
    )
    max_video_seconds: Annotated[float, Field(gt=0)] = Field(default=600.0, description="Longest video taken.")
    media_fetch_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=300.0, description="Time the server of an image or video has to give all of it."
    )
    media_decode_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="Processor time that decoding a file may take, in each of two threads."
    )
    media_fetches: Annotated[int, Field(ge=1, le=256)] = Field(
        default=32, description="Images and videos that one CPU worker fetches or decodes at a time."
    )
    media_fetches_per_host: Annotated[int, Field(ge=1)] = Field(
        default=4, description="The same of one host, or one client's uploads; other jobs pass those that wait for it."
    )
    media_ready_ahead: Annotated[int, Field(ge=1)] = Field(
        default=16, description="Jobs of one model that have not begun whose images and videos are kept ready."
    )
    media_decodes: Annotated[int, Field(ge=1)] = Field(
        default=2,
        description="Images and videos that a CPU worker decodes at a time; of one domain or client one less.",
    )
    media_decode_memory_bytes: Annotated[int, Field(ge=100_000_000)] = Field(
        default=2_000_000_000, description="Memory that decoding one image or video may take."
    )
    media_disk_bytes: Annotated[int, Field(ge=1)] = Field(
        default=4_000_000_000,
        description="Fetched files that a CPU worker keeps in TMPDIR; of one domain or client a quarter.",
    )
    media_allow_private_addresses: bool = Field(
        default=False, description="Allow images and videos from private and loopback addresses."
    )
    webhook_secret: Annotated[SecretStr, AfterValidator(usable_secret)] | None = Field(
        default=None, description="whsec_... key that signs webhooks; `up` makes one."
    )
    webhook_allow_private_addresses: bool = Field(
        default=False, description="Allow webhooks to private and loopback addresses."
    )
    webhook_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=15.0, description="Time a receiver has to answer, from the look-up of its name to the headers."
    )
    webhook_concurrency: Annotated[int, Field(ge=2)] = Field(
        default=256,
        description="Webhooks that one CPU worker sends at a time; second and later tries take half at most.",
    )
    webhook_concurrency_per_receiver: Annotated[int, Field(ge=1)] = Field(
        default=8, description="Of these, to one host and port."
    )
    webhook_concurrency_per_domain: Annotated[int, Field(ge=1)] = Field(
        default=32, description="Of these, to all hosts below one domain."
    )
    webhook_concurrency_per_address: Annotated[int, Field(ge=1)] = Field(
        default=64, description="Of these, to one IP address, whatever names it has."
    )
    allowed_url_ports: Annotated[str, AfterValidator(port_list)] = Field(
        default=DEFAULT_URL_PORTS,
        description="Ports of webhooks, images and videos, or `all`; not asked where private addresses are allowed.",
    )
    max_name_lookups: Annotated[int, Field(ge=1)] = Field(
        default=128, description="Host names of clients looked up at a time, per process."
    )
    max_name_lookups_per_domain: Annotated[int, Field(ge=1)] = Field(
        default=8, description="Of these, below one domain: a dead name server takes no more."
    )
    max_name_lookups_per_client: Annotated[int, Field(ge=1)] = Field(
        default=32, description="Of these, for one address of a client (of IPv6: its /64), in the API."
    )
    lease_ttl_seconds: Annotated[float, Field(gt=0)] = Field(
        default=15.0, description="A worker silent this long has lost its chunk."
    )
    visibility_timeout_seconds: Annotated[int, Field(ge=10)] = Field(
        default=3600,
        description="Celery: unacknowledged messages are redelivered after this; must exceed the longest chunk.",
    )
    janitor_interval_seconds: Annotated[float, Field(gt=0)] = Field(
        default=5.0, description="Pause between two reconciliations."
    )
    max_attempts: Annotated[int, Field(ge=1)] = Field(default=3, description="Tries of one chunk before its job fails.")
    torch_threads: Annotated[int, Field(ge=0)] = Field(
        default=0, description="CPU threads of a model worker; 0: all cores it may use (container limits count)."
    )
    torch_compile: bool = Field(
        default=False, description="GPU workers compile their steps (minutes at start, then faster); not for CPUs."
    )
    log_level: Annotated[str, AfterValidator(_log_level)] = Field(
        default="INFO", description="Python log level of every process."
    )

    @field_validator("media_disk_bytes")
    @classmethod
    def _holds_the_largest_file(cls, disk_bytes: int, info: ValidationInfo) -> int:
        """A file that never finds room would be fetched again and again."""
        given = info.data
        if not given.keys() >= _SIZES_OF_MEDIA:
            return disk_bytes
        needed = math.ceil(_largest(given) * MEDIA_DISK_KEPT_FREE / (MEDIA_DISK_KEPT_FREE - 1))
        if disk_bytes < needed:
            raise ValueError(
                f"{disk_bytes} bytes do not hold the largest image or video allowed; set {needed} or more, or lower "
                "LONGTAKE_MAX_VIDEO_BYTES, LONGTAKE_MAX_IMAGE_BYTES or LONGTAKE_MAX_IMAGE_PIXELS"
            )
        return disk_bytes

    @property
    def largest_media_bytes(self) -> int:
        """What one image or video may take on a CPU worker's disk, with what is made of it."""
        return _largest(self.model_dump(include=set(_SIZES_OF_MEDIA)))


def _largest(sizes: Mapping[str, int]) -> int:
    """The largest file with its pixels."""
    image = sizes["max_image_bytes"] + 3 * sizes["max_image_pixels"]
    return max(image, sizes["max_video_bytes"] + _FRAMES_BYTES)


def read_settings() -> Settings:
    """Settings from the environment. Raises SetupError naming the first variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        what = first["msg"].removeprefix("Value error, ")  # pydantic's word for our own validators
        raise SetupError(f"the environment variable LONGTAKE_{name} is wrong: {what}") from error
