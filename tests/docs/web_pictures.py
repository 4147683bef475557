"""`python -m tests.docs.web_pictures [NAME ...]`: docs/images/web-*.png anew, of the shipped `sprites` in headless
Chromium. With names (`watch`, `home`, ...) only these. Takes some minutes; look at every picture afterwards."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect
from pydantic import SecretStr

from tests.helpers.browser import chromium
from tests.helpers.deadline import eventually
from tests.helpers.presets import copy_shipped, write_fake_preset
from tests.helpers.service import Service, running_service

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
MOST_BYTES = 150_000
MOST_PIXELS = 1800
"""Width of several pictures side by side."""
MOST_ROWS = 900
"""Height of a table of metrics, in pixels: the rest looks the same."""
GAP = 12
KEY = "an-admin-key-of-32-characters-or-more"
COLOURS = 256
WIDE = ViewportSize(width=1280, height=800)
TALL = ViewportSize(width=1280, height=960)
PHONE = ViewportSize(width=390, height=844)
RED = "a red circle moving right over a plain background"
BLUE = "a blue circle moving right over a plain background"
GALLERY = (
    "a blue square moving up over a plain background",
    "a green triangle standing still over a checkered background",
    "a yellow circle bouncing around over a striped background",
    "a red square moving left over a dotted background",
    RED,
)
SECONDS = 60_000.0  # milliseconds; for what a busy machine may be late with


class Studio:
    """A service with videos, and a browser that looks at its page."""

    def __init__(self, service: Service, browser: Browser) -> None:
        self.service = service
        self.browser = browser
        self._url = str(service.http.base_url).rstrip("/")

    @contextmanager
    def page(self, address: str, *, scheme: str = "light", phone: bool = False) -> Generator[Page]:
        """A page that shows `address`, the part after `/#/`."""
        size, scale = (PHONE, 2) if phone else (WIDE, 1)
        context = self.browser.new_context(viewport=size, device_scale_factor=scale, color_scheme=scheme)  # pyright: ignore[reportArgumentType]
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.goto(f"{self._url}/#/{address}")
        try:
            yield page
        finally:
            context.close()

    @contextmanager
    def running(self, **fields: Any) -> Generator[str]:
        """The id of a job that is being made meanwhile."""
        body = {"model": "sprites", "prompt": RED, "num_frames": 480, "seed": 3, **fields}
        job_id = self.service.http.post("/jobs", json=body).raise_for_status().json()["id"]
        self.service.wait_for_chunks(job_id, 1)
        try:
            yield job_id
        finally:
            self.service.http.delete(f"/jobs/{job_id}").raise_for_status()


def act(page: Page, title: str) -> None:
    """Unfold what has this title."""
    page.locator("summary").filter(has_text=title).click()


def play_until(page: Page, seconds: float) -> None:
    eventually(
        lambda: page.evaluate(f"(document.querySelector('video.screen')?.currentTime ?? 0) >= {seconds}"),
        f"the video to be at {seconds} s",
        seconds=SECONDS / 1000,
    )


def describe(page: Page, prompt: str) -> None:
    expect(page.get_by_role("combobox", name="Model")).to_have_value("sprites")
    page.get_by_label("What the video shows").fill(prompt)


def thumbnails(page: Page) -> None:
    """Wait until the pictures of the gallery are there."""
    loaded = "[...document.querySelectorAll('.gallery img')].filter(e => e.complete && e.naturalWidth).length"
    eventually(lambda: page.evaluate(loaded) >= len(GALLERY), "the pictures of the gallery")


def home(studio: Studio) -> bytes:
    with studio.running() as _, studio.page("") as page:
        page.set_viewport_size(TALL)
        describe(page, "a red circle moving right over a plain ocean")
        expect(page.locator(".make .warnings")).to_contain_text("ocean")
        thumbnails(page)
        return page.screenshot()


def dark(studio: Studio) -> bytes:
    with studio.page("", scheme="dark") as page:
        page.set_viewport_size(TALL)
        describe(page, RED)
        thumbnails(page)
        page.get_by_role("link").filter(has_text="yellow circle").hover()
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(1500)
        return page.screenshot()


def words(studio: Studio) -> bytes:
    with studio.page("") as page:
        describe(page, "")
        act(page, "words that the model knows")
        page.get_by_label("Length", exact=True).fill("12")
        page.get_by_role("button", name="Then another prompt").click()
        page.get_by_label("From second (prompt 2)").fill("6")
        page.get_by_label("Prompt 2", exact=True).fill(BLUE)
        page.get_by_label("What the video shows").press_sequentially("a red circle mo")
        expect(page.get_by_role("button", name="moving").first).to_be_visible()
        page.wait_for_timeout(1000)
        return page.locator(".make").screenshot()


def fields(studio: Studio) -> bytes:
    with studio.page("") as page:
        describe(page, RED)
        act(page, "More settings")
        page.get_by_label("Guidance").fill("99")
        expect(page.get_by_text("above 30")).to_be_visible()
        return page.locator(".make").screenshot()


def watch(studio: Studio) -> bytes:
    changes = [{"start_frame": 0, "text": RED}, {"start_frame": 96, "text": BLUE}]
    with studio.running(prompt=None, prompts=changes) as job, studio.page(f"jobs/{job}", scheme="dark") as page:
        page.set_viewport_size(TALL)
        act(page, "Change the prompt")
        play_until(page, 3)
        return page.screenshot()


def steer(studio: Studio) -> bytes:
    with studio.running() as job, studio.page(f"jobs/{job}") as page:
        page.set_viewport_size(TALL)
        play_until(page, 1)
        act(page, "Change the prompt")
        page.get_by_label("From here on it shows").fill(BLUE)
        page.get_by_role("button", name="Change it").first.click()
        expect(page.get_by_text("The new prompt acts from")).to_be_visible()
        act(page, "Change the prompt")
        page.get_by_label("From here on it shows").fill(RED)
        page.get_by_label("From second").fill("30")
        return page.screenshot()


def slow(studio: Studio) -> bytes:
    with studio.running(fps=60, num_frames=960) as job, studio.page(f"jobs/{job}") as page:
        expect(page.locator(".wait")).to_contain_text("made more slowly than it plays")
        return page.locator(".player").screenshot()


def pictures(studio: Studio) -> bytes:
    job = next(job for job in studio.service.http.get("/jobs").json()["jobs"] if "bouncing" in job["request"]["prompt"])
    with studio.page(f"jobs/{job['id']}") as page:
        page.set_viewport_size(ViewportSize(width=1280, height=2000))
        act(page, "Contact sheet and x-t slice")
        act(page, "Where the time went")
        expect(page.get_by_text("Choose a picture to go there.")).to_be_visible()
        expect(page.get_by_role("rowheader").first).to_be_visible()
        above = page.locator(".pictures").bounding_box()
        below = page.locator("details.measured").filter(has_text="Where the time went").bounding_box()
        assert above
        assert below
        height = below["y"] + below["height"] - above["y"]
        return page.screenshot(clip={"x": above["x"], "y": above["y"], "width": above["width"], "height": height})


def phone(studio: Studio) -> bytes:
    with studio.running() as job, studio.page(f"jobs/{job}", phone=True) as page:
        play_until(page, 2)
        return page.screenshot()


def finished(studio: Studio) -> bytes:
    job = next(job for job in studio.service.http.get("/jobs").json()["jobs"] if "triangle" in job["request"]["prompt"])
    with studio.page(f"jobs/{job['id']}") as page:
        page.set_viewport_size(ViewportSize(width=1600, height=1000))
        play_until(page, 2)
        act(page, "Branch from the playhead")
        return page.screenshot()


def metrics(studio: Studio) -> bytes:
    job = studio.service.submit(model="sprites", prompt=BLUE, num_frames=48, seed=7, measure=True)
    studio.service.wait_for_success(job.id)
    shots = list[bytes]()
    with studio.page(f"jobs/{job.id}") as page:
        for size in (WIDE, PHONE):
            page.set_viewport_size(size)
            panel = page.locator("details.measured").filter(has_text="What was measured")
            if panel.get_attribute("open") is None:
                act(page, "What was measured")
            expect(page.get_by_role("table", name="The video")).to_be_visible(timeout=4 * SECONDS)
            whole = Image.open(BytesIO(panel.screenshot()))
            content = BytesIO()
            whole.crop((0, 0, whole.width, min(whole.height, MOST_ROWS))).save(content, "PNG")
            shots.append(content.getvalue())
    return beside(*shots)


def states(studio: Studio) -> bytes:
    """Seldom ones, side by side: failed, a branch, without end."""
    http = studio.service.http
    none = http.post("/uploads", json={"content_type": "video/mp4", "size_bytes": 4}).raise_for_status().json()
    httpx.put(none["url"], headers=none["headers"], content=b"none", trust_env=False).raise_for_status()
    failed = studio.service.wait_for_end(
        studio.service.submit(model="sprites", prompt=RED, num_frames=48, video=none["id"]).id
    )
    source = next(job for job in http.get("/jobs").json()["jobs"] if "yellow circle" in job["request"]["prompt"])
    body = {"from_chunk": 2, "prompt": BLUE}
    branch = http.post(f"/jobs/{source['id']}/branch", json=body).raise_for_status().json()
    studio.service.wait_for_success(branch["id"])
    shots = list[bytes]()
    with studio.running(num_frames=None) as endless:
        for job, seconds in ((failed.id, 0.0), (branch["id"], 1.0), (endless, 2.0)):
            with studio.page(f"jobs/{job}") as page:
                page.set_viewport_size(ViewportSize(width=1040, height=760))
                play_until(page, seconds)
                shots.append(page.screenshot())
    return beside(*shots)


def keys(studio: Studio) -> bytes:
    """A service with API keys: before the key, and the form of a model that edits a video and follows another."""
    with tempfile.TemporaryDirectory() as folder:
        presets = Path(folder) / "presets"
        write_fake_preset(presets, "editor", video="whole", control=("depth", "canny"), needs_input=True)
        settings = {"default_model": "editor", "media": "proxy", "admin_key": SecretStr(KEY)}
        with running_service(Path(folder), presets, **settings) as service:
            service.http.headers["Authorization"] = f"Bearer {KEY}"
            other = Studio(service, studio.browser)
            with other.page("") as page:
                page.set_viewport_size(ViewportSize(width=900, height=700))
                expect(page.get_by_role("dialog")).to_be_visible()
                expect(page.get_by_role("button", name="Enter a key", include_hidden=True)).to_be_attached()
                login = page.screenshot()
                page.get_by_label("Key", exact=True).fill(KEY)
                page.get_by_role("button", name="Use this key").click()
                expect(page.get_by_role("link", name="No worker")).to_be_visible()
                page.get_by_label("What the video shows").fill(RED)
                page.get_by_label("Follow", exact=True).select_option("depth")
                page.wait_for_timeout(1000)
                return beside(login, page.screenshot())


def night(studio: Studio) -> bytes:
    """Of a phone in dark colours: the gallery and a running job."""
    with studio.running() as job:
        with studio.page("", phone=True, scheme="dark") as page:
            thumbnails(page)
            home = page.screenshot()
        with studio.page(f"jobs/{job}", phone=True, scheme="dark") as page:
            play_until(page, 2)
            return beside(home, page.screenshot())


def beside(*shots: bytes) -> bytes:
    """One picture with these side by side."""
    pictures = [Image.open(BytesIO(shot)).convert("RGB") for shot in shots]
    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1)
    whole = Image.new("RGB", (width, max(picture.height for picture in pictures)), "#8b857a")
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + GAP
    if whole.width > MOST_PIXELS:
        whole = whole.resize((MOST_PIXELS, round(whole.height * MOST_PIXELS / whole.width)), Image.Resampling.LANCZOS)
    content = BytesIO()
    whole.save(content, "PNG")
    return content.getvalue()


def status(studio: Studio) -> bytes:
    with studio.running() as _, studio.page("status") as page:
        expect(page.get_by_role("table", name="Speed in the last minute")).to_contain_text("sprites")
        expect(page.get_by_role("table", name="Workers")).to_contain_text("generate chunk")
        return page.screenshot(full_page=True)


SHOTS: dict[str, Callable[[Studio], bytes]] = {
    shot.__name__: shot
    for shot in (
        *(home, dark, words, fields, watch, steer, slow, pictures, phone, status),
        *(finished, metrics, states, keys, night),
    )
}


def save(name: str, shot: bytes) -> None:
    """As a palette, which looks the same here and has a third of the bytes."""
    picture = Image.open(BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    file = IMAGES / f"web-{name}.png"
    picture.save(file, optimize=True)
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"{file.name} has {size} bytes, more than {MOST_BYTES}")
    sys.stdout.write(f"{file.name}: {picture.width}x{picture.height}, {size} bytes\n")


def main(names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        presets = Path(folder) / "presets"
        copy_shipped(presets)
        with running_service(Path(folder), presets, default_model="sprites", media="proxy") as service:
            service.start_workers("sprites")
            jobs = [service.submit(model="sprites", prompt=prompt, num_frames=48, seed=7) for prompt in GALLERY]
            for job in jobs:
                service.wait_for_success(job.id)
            studio = Studio(service, browser)
            for name in names or SHOTS:
                save(name, SHOTS[name](studio))


if __name__ == "__main__":
    main(sys.argv[1:])
