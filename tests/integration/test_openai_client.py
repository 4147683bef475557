"""OpenAI's own package, unchanged, against a running service: create, wait, download, list, delete."""

# pyright: reportDeprecated=false
from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from PIL import Image

from tests.helpers.service import Service
from tests.helpers.video import frames_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "openai.md"
PROMPT = "a red square"
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")  # OpenAI's own service has ended


@pytest.fixture
def client(service: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://127.0.0.1:{service.api_port}/v1", api_key="any") as client:
        yield client


def test_a_video_is_created_awaited_downloaded_listed_and_deleted(client: OpenAI) -> None:
    video = client.videos.create_and_poll(model="fake", prompt=PROMPT, seconds="4", poll_interval_ms=100)
    assert (video.status, video.progress, video.error) == ("completed", 100, None)
    content = client.videos.download_content(video.id)
    assert len(frames_of(content.read())) == 32
    picture = client.videos.download_content(video.id, variant="thumbnail").read()
    assert picture.startswith(b"\xff\xd8")
    frames = client.videos.download_content(video.id, variant="spritesheet").read()
    assert Image.open(io.BytesIO(frames)).size == (1024, 1024)
    assert video.id in [found.id for found in client.videos.list(limit=1)]
    assert client.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(video.id)


def test_videos_are_deleted_while_they_are_listed(client: OpenAI) -> None:
    made = {client.videos.create(model="endless", prompt=PROMPT).id for _ in range(5)}
    for video in client.videos.list(limit=2):
        if video.id in made:
            client.videos.delete(video.id)
    assert not made & {video.id for video in client.videos.list()}


def test_the_asynchronous_client_works_too(service: Service) -> None:
    async def make() -> bytes:
        async with AsyncOpenAI(base_url=f"http://127.0.0.1:{service.api_port}/v1", api_key="any") as client:
            video = await client.videos.create_and_poll(prompt=PROMPT, seconds="4", poll_interval_ms=100)
            content = await client.videos.download_content(video.id)
            await client.videos.delete(video.id)
            return content.read()

    assert len(frames_of(asyncio.run(make()))) == 32


def test_a_job_of_the_other_api_is_a_video(client: OpenAI, service: Service) -> None:
    job = service.wait_for_success(service.submit(num_frames=16).id)
    assert client.videos.retrieve(job.id).status == "completed"
    content = service.http.get(f"/v1/videos/{job.id}/content", follow_redirects=True)
    assert content.content == service.video(job.id)


def test_what_a_model_cannot_make_is_refused_by_name(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.videos.create(model="fake", prompt=PROMPT, size="720x1280")
    assert (refused.value.param, "64x64" in refused.value.message) == ("size", True)
    with pytest.raises(openai.BadRequestError) as unknown:
        client.videos.create(model="sora-2", prompt=PROMPT)
    assert (unknown.value.param, unknown.value.code) == ("model", "unknown_model")


def test_models_are_listed(client: OpenAI) -> None:
    assert {"fake", "slow"} <= {model.id for model in client.models.list()}


def test_the_example_of_the_page_runs(service: Service, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    here = code.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{service.api_port}").replace('"sprites"', '"fake"')
    command = [sys.executable, "-W", "ignore:The Sora API:DeprecationWarning", "-c", here]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert "completed None" in result.stdout
    assert "'fake'" in result.stdout
    assert len(frames_of((tmp_path / "video.mp4").read_bytes())) == 32
    assert (tmp_path / "frames.jpg").read_bytes().startswith(b"\xff\xd8")
