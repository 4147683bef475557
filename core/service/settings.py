"""All settings of a deployment, from environment variables with prefix LONGTAKE_. The only reader of the environment.

docs/settings.md is generated from this class: `python -m tests.docs`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from core.service.domain.addresses import base_url, host_names, media_delivery, networks, origins
from core.service.domain.api_keys import long_enough_key
from core.service.domain.errors import SetupError
from core.service.domain.first_chunk_sources import source_name
from core.service.domain.s3_addressing import Addressing
from core.service.domain.url_ports import DEFAULT_URL_PORTS, port_list
from core.service.domain.webhook_secret import usable_secret
from core.service.media_sizes import SIZES_OF_MEDIA, check_media_disk, largest_media

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SHIPPED_PRESETS_DIR = Path(__file__).resolve().parents[1] / "model" / "presets"


def _log_level(text: str) -> str:
    if text.upper() not in LOG_LEVELS:
        raise ValueError(f"use one of {', '.join(LOG_LEVELS)}")
    return text.upper()


class Settings(BaseSettings):
    """Immutable settings, created once by each process's entry point and passed on."""

    model_config = SettingsConfigDict(
        env_prefix="LONGTAKE_", frozen=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        description="Redis database of records, events and leases; rediss:// and sentinel:// are possible.",
    )
    broker_url: str = Field(
        default="redis://127.0.0.1:6379/1",
        description="Redis database of Celery; rediss:// and sentinel:// are possible.",
    )
    s3_endpoint_url: str | None = Field(default=None, description="S3 endpoint for workers and API; unset: AWS.")
    s3_public_endpoint_url: str | None = Field(
        default=None, description="S3 endpoint for clients, in presigned URLs; unset: LONGTAKE_S3_ENDPOINT_URL."
    )
    s3_bucket: str = Field(default="longtake", description="S3 bucket of all objects.")
    s3_access_key_id: str | None = Field(default=None, description="S3 access key; unset: boto3's credential chain.")
    s3_secret_access_key: SecretStr | None = Field(default=None, description="Secret of the S3 access key.")
    s3_addressing: Addressing = Field(
        default="path",
        description="S3 addressing: path, virtual (bucket in the host name) or auto; not all providers have both.",
    )
    s3_region: str = Field(default="us-east-1", description="S3 region, used for signing.")
    url_ttl_seconds: Annotated[int, Field(ge=60, le=604800)] = Field(
        default=3600, description="Minimum lifetime of a presigned URL."
    )
    public_base_url: Annotated[str, AfterValidator(base_url)] | None = Field(
        default=None, description="Base URL of links in answers; unset: from the request."
    )
    admin_key: Annotated[SecretStr, AfterValidator(long_enough_key)] | None = Field(
        default=None,
        description="The operator's own API key, 32 characters or more. With it every request needs a key; "
        "`POST /keys` makes those of customers.",
    )
    metrics_key: Annotated[
        Annotated[SecretStr, AfterValidator(long_enough_key)] | None, BeforeValidator(lambda key: key or None)
    ] = Field(
        default=None,
        description="Key of GET /metrics and of nothing else, 32 characters or more; unset: one of the scope `admin`. "
        "Only with LONGTAKE_ADMIN_KEY.",
    )
    open: bool = Field(
        default=False,
        description="Allow the API to listen beyond this machine without LONGTAKE_ADMIN_KEY: open to everybody.",
    )
    link_ttl_seconds: Annotated[int, Field(ge=60, le=31_536_000)] = Field(
        default=86400, description="Minimum lifetime of the tokens in a job's links; only with LONGTAKE_ADMIN_KEY."
    )
    allowed_hosts: Annotated[str, AfterValidator(host_names)] | None = Field(
        default=None,
        description="Allowed host names in the Host header, comma-separated; `*.example.com`, `*`: any. "
        "Always allowed: addresses, names without a dot, the hosts of LONGTAKE_PUBLIC_BASE_URL and LONGTAKE_MEDIA.",
    )
    cors_origins: Annotated[str, AfterValidator(origins)] | None = Field(
        default=None,
        description="Origins whose pages may call the API, comma-separated; `*`: any. Unset: only media, for all.",
    )
    trusted_proxies: Annotated[str, AfterValidator(networks)] | None = Field(
        default=None,
        description="Proxies (addresses, networks) whose X-Forwarded-* or Forwarded headers count, comma-separated.",
    )
    request_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=20.0, description="Time limit for receiving a request; then 408."
    )
    keep_alive_seconds: Annotated[int, Field(ge=1)] = Field(
        default=75, description="How long an idle connection is kept; should exceed that of a proxy in front."
    )
    media: Annotated[str, AfterValidator(media_delivery)] = Field(
        default="redirect",
        description="proxy: the API streams videos (default of `up`); redirect: 307 to the S3 server; https://...: "
        "links lead to this CDN, which fetches from the API.",
    )
    max_media_streams: Annotated[int, Field(ge=1)] = Field(
        default=256, description="Maximum videos and chunks that one API process streams at a time; then 503."
    )
    max_media_streams_per_address: Annotated[int, Field(ge=1)] = Field(
        default=64, description="The same to one client address (IPv6: /64); then 429."
    )
    media_stall_seconds: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="A client that reads nothing of an answer for this long is disconnected."
    )
    playlist_wait_seconds: Annotated[float, Field(ge=0)] = Field(
        default=60.0, description="How long a playlist request waits for the first chunk."
    )
    max_playlist_waits: Annotated[int, Field(ge=0)] = Field(
        default=200, description="Maximum playlist requests that wait in one API process; others are answered at once."
    )
    max_playlist_waits_per_address: Annotated[int, Field(ge=0)] = Field(
        default=50, description="The same of one client address (IPv6: /64); others are answered at once."
    )
    max_wait_seconds: Annotated[int, Field(ge=0)] = Field(default=60, description="Longest `Prefer: wait`; 0: none.")
    presets_dir: Path = Field(default=SHIPPED_PRESETS_DIR, description="Folder of presets.")
    weights_dir: Path = Field(default=Path("~/.cache/longtake"), description="Folder of downloaded weights.")
    first_chunk_source: Annotated[str, AfterValidator(source_name)] | None = Field(
        default=None,
        description="Source of the first 16 frames: animatediff, svd or diffusers:ORG/NAME; unset: the preset's.",
    )
    image_model: str | None = Field(
        default=None,
        min_length=1,
        description="Text-to-image model (ORG/NAME, ORG/NAME@REVISION or a folder) that makes the first frame from the "
        "prompt where a job of an image-to-video model has no image; unset: such jobs are refused.",
    )
    default_model: str = Field(default="sprites", description="Preset of requests without `model`.")
    default_num_frames: Annotated[int, Field(ge=16)] = Field(default=48, description="Length of requests without one.")
    max_frames: Annotated[int, Field(ge=16)] = Field(default=9600, description="Maximum length of a video.")
    max_endless_frames: Annotated[int, Field(ge=0, le=16_000_000)] = Field(
        default=1_000_000, description="Frames at which a video without end ends; 0: none are made."
    )
    max_inference_steps: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=100, description="Maximum denoising steps per window; a model's default is always allowed."
    )
    max_first_chunk_steps: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=100, description="Maximum denoising steps of the first chunk; a model's default is always allowed."
    )
    max_refine_steps: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=50, description="Maximum denoising steps per refinement window; a model's default is always allowed."
    )
    max_refine_pixels: Annotated[int, Field(ge=1)] = Field(
        default=1280 * 720, description="Maximum pixels of a refined frame; a model's default is always allowed."
    )
    max_lockstep_frames: Annotated[int, Field(ge=16)] = Field(
        default=480, description="Maximum length refined in lockstep, where each step processes all frames at once."
    )
    max_queued_jobs: Annotated[int, Field(ge=1)] = Field(
        default=10000, description="Maximum number of jobs that have not ended; then POST /jobs answers 503."
    )
    prompt_enhancer_url: Annotated[str, AfterValidator(base_url)] | None = Field(
        default=None, description="OpenAI-compatible API for `enhance_prompt`, such as http://127.0.0.1:11434/v1."
    )
    prompt_enhancer_key: SecretStr | None = Field(default=None, description="Its API key, sent as bearer token.")
    prompt_enhancer_model: str = Field(default="gpt-4o-mini", description="Its model that writes longer prompts.")
    max_event_streams: Annotated[int, Field(ge=1)] = Field(
        default=5000, description="Maximum event streams of one API process; then 503."
    )
    max_event_streams_per_address: Annotated[int, Field(ge=1)] = Field(
        default=2500, description="The same of one client address (IPv6: /64); then 429."
    )
    retention_seconds: Annotated[int, Field(ge=60)] = Field(
        default=7 * 86400, description="How long an ended job and its objects are stored."
    )
    upload_ttl_seconds: Annotated[int, Field(ge=60, le=604800)] = Field(
        default=3600, description="Lifetime of an upload's URL."
    )
    upload_retention_seconds: Annotated[int, Field(ge=60)] = Field(
        default=86400, description="How long an upload can be used in new jobs; then it is deleted."
    )
    max_uploads: Annotated[int, Field(ge=1)] = Field(
        default=1000, description="Maximum number of stored uploads; then POST /uploads answers 503."
    )
    max_uploads_per_client: Annotated[int, Field(ge=1)] = Field(
        default=100, description="The same of one client address (IPv6: /64); then 429."
    )
    max_image_bytes: Annotated[int, Field(ge=1)] = Field(
        default=20_000_000, description="Maximum size of an image file."
    )
    max_video_bytes: Annotated[int, Field(ge=1, le=5_000_000_000)] = Field(
        default=500_000_000, description="Maximum size of a video file."
    )
    max_image_pixels: Annotated[int, Field(ge=1, le=89_000_000)] = Field(
        default=40_000_000, description="Maximum pixels of an image, checked before decoding."
    )
    max_video_pixels: Annotated[int, Field(ge=1)] = Field(
        default=4096 * 2304, description="Maximum pixels of a video frame, checked before decoding."
    )
    max_video_seconds: Annotated[float, Field(gt=0)] = Field(
        default=600.0, description="Maximum duration of an input video."
    )
    media_fetch_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=300.0, description="Time limit for downloading an image or video."
    )
    media_decode_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="CPU time limit for decoding a file, in each of two threads."
    )
    media_fetches: Annotated[int, Field(ge=1, le=256)] = Field(
        default=32, description="Images and videos that one CPU worker prepares at a time."
    )
    media_fetches_per_host: Annotated[int, Field(ge=1)] = Field(
        default=4, description="The same of one host or one client's uploads; jobs of others overtake waiting ones."
    )
    media_ready_ahead: Annotated[int, Field(ge=1)] = Field(
        default=16, description="Maximum queued jobs of one model whose images and videos are prepared in advance."
    )
    media_decodes: Annotated[int, Field(ge=1)] = Field(
        default=2,
        description="Images and videos that a CPU worker decodes at a time; one less of one domain or client.",
    )
    media_decode_memory_bytes: Annotated[int, Field(ge=100_000_000)] = Field(
        default=2_000_000_000, description="Memory limit for decoding one image or video."
    )
    media_disk_bytes: Annotated[int, Field(ge=1)] = Field(
        default=4_000_000_000,
        description="Disk space in TMPDIR for files of a CPU worker; a quarter of it for one domain or client.",
    )
    media_allow_private_addresses: bool = Field(
        default=False, description="Allow images and videos from private and loopback addresses."
    )
    measure_max_frames: Annotated[int, Field(ge=16)] = Field(
        default=14_400, description="Most frames that `measure` measures of a job, those of both variants together."
    )
    measure_niceness: Annotated[int, Field(ge=0, le=19)] = Field(
        default=15,
        description="How far the process that measures a video stands back behind the CPU worker, as with `nice`. On a "
        "machine that is always busy a lower number lets it come to its end.",
    )
    webhook_secret: Annotated[SecretStr, AfterValidator(usable_secret)] | None = Field(
        default=None, description="whsec_... secret that signs webhooks; `up` generates one."
    )
    webhook_allow_private_addresses: bool = Field(
        default=False, description="Allow webhooks to private and loopback addresses."
    )
    webhook_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=15.0, description="Time limit of a receiver, from the DNS look-up to the headers of its answer."
    )
    webhook_concurrency: Annotated[int, Field(ge=2)] = Field(
        default=256,
        description="Webhooks that one CPU worker sends at a time; retries take half of them at most.",
    )
    webhook_concurrency_per_receiver: Annotated[int, Field(ge=1)] = Field(
        default=8, description="The same to one host and port."
    )
    webhook_concurrency_per_domain: Annotated[int, Field(ge=1)] = Field(
        default=32, description="The same to all hosts of one domain."
    )
    webhook_concurrency_per_address: Annotated[int, Field(ge=1)] = Field(
        default=64, description="The same to one IP address, whatever its names."
    )
    allowed_url_ports: Annotated[str, AfterValidator(port_list)] = Field(
        default=DEFAULT_URL_PORTS,
        description="Allowed ports of webhook and media URLs, or `all`; not checked if private addresses are allowed.",
    )
    max_name_lookups: Annotated[int, Field(ge=1)] = Field(
        default=128, description="DNS look-ups for URLs of clients at a time, per process."
    )
    max_name_lookups_per_domain: Annotated[int, Field(ge=1)] = Field(
        default=8, description="The same for one domain, so that a dead name server blocks no more."
    )
    max_name_lookups_per_client: Annotated[int, Field(ge=1)] = Field(
        default=32, description="The same for one client address (IPv6: /64), in the API."
    )
    ahead_seconds: Annotated[float, Field(ge=0)] = Field(
        default=20.0,
        description="A job whose viewers can watch longer than this gives its worker to others; a quarter of it is "
        "enough where workers have room for more viewers; see scheduling.md.",
    )
    ageing_seconds: Annotated[float, Field(gt=0)] = Field(
        default=300.0, description="A job that has waited longer than this goes before some of a better class."
    )
    target_queue_seconds: Annotated[float, Field(gt=0)] = Field(
        default=120.0,
        description="Within how long the workers of a pool should do its open work; says how many are wanted, see "
        "operations.md.",
    )
    pool_hold_seconds: Annotated[float, Field(gt=0)] = Field(
        default=60.0,
        description="How long a GPU of `longtake worker --pool` at least serves a model that it was given to by need.",
    )
    lease_ttl_seconds: Annotated[float, Field(gt=0)] = Field(
        default=15.0, description="A worker that does not renew its lease for this long loses its chunk."
    )
    visibility_timeout_seconds: Annotated[int, Field(ge=10)] = Field(
        default=3600,
        description="Celery: unacknowledged messages are redelivered after this; must exceed the longest chunk.",
    )
    janitor_interval_seconds: Annotated[float, Field(gt=0)] = Field(
        default=5.0, description="Pause between two passes of the janitor."
    )
    max_attempts: Annotated[int, Field(ge=1)] = Field(
        default=3, description="Attempts at one chunk before its job fails."
    )
    torch_threads: Annotated[int, Field(ge=0)] = Field(
        default=0, description="CPU threads of a model worker; 0: all available cores (container limits count)."
    )
    torch_compile: bool = Field(
        default=False, description="torch.compile on GPU workers (minutes at start, then faster); ignored on CPUs."
    )
    worker_metrics_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=0,
        description="Port of /metrics of a worker process; the next ones of the same `longtake worker` take the ports "
        "after it. 0: none.",
    )
    worker_metrics_host: str = Field(default="127.0.0.1", description="Address on which workers serve /metrics.")
    log_level: Annotated[str, AfterValidator(_log_level)] = Field(default="INFO", description="Of every process.")
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="Of every process; json: one object a line, with the ids of request, job and worker.",
    )

    @field_validator("media_disk_bytes")
    @classmethod
    def _holds_the_largest_file(cls, disk_bytes: int, info: ValidationInfo) -> int:
        """See `check_media_disk`. Sizes that are wrong themselves are told first."""
        if info.data.keys() >= SIZES_OF_MEDIA:
            check_media_disk(disk_bytes, info.data)
        return disk_bytes

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, else the environment. Looking for files, which there are none of, takes four times as long."""
        return init_settings, env_settings

    @property
    def media_base_url(self) -> str | None:
        """Base URL of links to media, without a trailing slash; None if they lead to the API."""
        return None if self.media in {"proxy", "redirect"} else self.media

    @property
    def largest_media_bytes(self) -> int:
        """Disk space of the largest image or video on a CPU worker, with its decoded frames."""
        return largest_media(self.model_dump(include=set(SIZES_OF_MEDIA)))


def read_settings() -> Settings:
    """Settings from the environment. Raises SetupError naming the first variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        what = first["msg"].removeprefix("Value error, ")  # pydantic's prefix for our own validators
        raise SetupError(f"the environment variable LONGTAKE_{name} is wrong: {what}") from error
