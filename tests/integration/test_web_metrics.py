"""The page shows what was measured of a video, and asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from cli.output.metric_lines import shown
from core.service.domain.manifest import metrics_key
from core.service.domain.schema import JobMetrics, MeasuredVideo
from tests.helpers.axe import faults_of, rules_of_axe
from tests.helpers.deadline import eventually
from tests.helpers.service import Service
from tests.helpers.web_page import Opened, live_service, opened

pytestmark = pytest.mark.timeout(1000)  # apt-get may have to install a browser first
MEASURED_MS = 120_000
LINES = (
    "cell => { const all = document.createRange(); all.selectNodeContents(cell); return all.getClientRects().length }"
)
"""Of its text."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with live_service(tmp_path_factory.mktemp("service"), steps=2, step_seconds=0.02) as service:
        yield service


def unfold(web: Opened) -> Locator:
    found = web.page.locator("details.act").filter(has_text="What was measured")
    found.locator("summary").click()
    return found


def metrics_of(service: Service, job_id: str) -> JobMetrics:
    def read() -> JobMetrics | None:
        answer = service.http.get(f"/jobs/{job_id}/metrics")
        return JobMetrics.model_validate_json(answer.content) if answer.is_success else None

    return eventually(read, f"{job_id} to be measured", seconds=MEASURED_MS / 1000)


def with_odd_values(service: Service, job_id: str) -> MeasuredVideo:
    """What was measured, with values that are whole numbers but no counts, and one that is nearly zero."""
    metrics = metrics_of(service, job_id)
    video = metrics.videos["preview"]
    odd = {"duplicate_ratio": 0.0, "warp_error": 3.0, "motion_drift": -0.0004}
    values = {
        name: value.model_copy(update={"value": odd.get(name, value.value)}) for name, value in video.values.items()
    }
    video = video.model_copy(update={"values": values})
    stored = metrics.model_copy(update={"videos": {"preview": video}})
    service.storage().put(metrics_key(job_id), stored.model_dump_json().encode(), "application/json")
    return video


def test_lost_metrics_are_asked_for_once_and_measured_anew_on_request(service: Service, web: Opened) -> None:
    job = service.submit(model="live", num_frames=16, measure=True)
    service.wait_for_success(job.id)
    metrics_of(service, job.id)
    service.storage().delete([metrics_key(job.id)])
    asked = list[str]()
    web.page.on("request", lambda request: asked.append(request.method) if request.url.endswith("/metrics") else None)
    web.watch(job.id)
    panel = unfold(web)
    expect(panel).to_contain_text("The metrics are lost")
    again = panel.get_by_role("button", name="Measure the video")
    web.page.wait_for_timeout(3500)
    assert asked == ["GET"]
    web.forget_failed_requests()
    again.click()
    expect(panel).to_contain_text("16 frames", timeout=MEASURED_MS)


def test_what_was_measured_is_shown_with_its_meaning(service: Service, web: Opened) -> None:
    job = service.submit(model="live", num_frames=32, measure=True)
    service.wait_for_success(job.id)
    video = with_odd_values(service, job.id)
    web.watch(job.id)
    panel = unfold(web)
    expect(panel).to_contain_text(f"32 frames, flow {video.flow}.")
    table = panel.get_by_role("table", name="The video")
    expect(table.get_by_role("row")).to_have_count(1 + len(video.values))
    for value in video.values.values():
        header = web.page.get_by_role("rowheader", name=value.title, exact=True)
        row = table.get_by_role("row").filter(has=header)
        expect(row).to_contain_text(value.meaning)
        if value.value is not None:
            expect(row.get_by_role("cell").first).to_have_text(shown(value))
    for cell in table.locator("td.number").all():
        assert cell.evaluate(LINES) == 1
    cuts = table.get_by_role("row").filter(has_text="SCuts")
    expect(cuts.get_by_role("cell").first).to_have_text("0")
    expect(cuts).to_contain_text("Lower is better.")


def test_a_video_that_nobody_measured_is_measured_on_request(service: Service, web: Opened) -> None:
    job = service.submit(model="live", num_frames=16)
    service.wait_for_success(job.id)
    web.watch(job.id)
    panel = unfold(web)
    expect(panel).to_contain_text("Nobody has asked for it.")
    panel.get_by_role("button", name="Measure the video").click()
    expect(panel).to_contain_text("16 frames", timeout=MEASURED_MS)
    expect(panel.get_by_role("button")).to_have_count(0)


def test_a_running_job_says_when_it_is_measured(service: Service, web: Opened) -> None:
    job = service.submit(model="live", num_frames=2400, measure=True)
    service.wait_for_chunks(job.id, 1)
    web.watch(job.id)
    panel = unfold(web)
    expect(panel).to_contain_text("It is measured once the video is finished.")
    service.http.post(f"/jobs/{job.id}/cancel")
    expect(panel).to_contain_text("frames", timeout=MEASURED_MS)
    expect(panel.get_by_role("table", name="The video")).to_be_visible()


def test_on_a_phone_no_word_of_the_table_is_broken(service: Service, browser: Browser, tmp_path: Path) -> None:
    rules = rules_of_axe(tmp_path)
    job = service.submit(model="live", num_frames=16, measure=True)
    service.wait_for_success(job.id)
    metrics_of(service, job.id)
    phone = {"viewport": {"width": 360, "height": 740}, "bypass_csp": True}
    with opened(browser, str(service.http.base_url), **phone) as web:
        web.watch(job.id)
        table = unfold(web).get_by_role("table", name="The video")
        expect(table).to_be_visible()
        for row in table.locator("tbody tr").all():
            title, number, meaning = (cell.bounding_box() for cell in row.locator("th, td").all())
            assert title
            assert number
            assert meaning
            assert number["x"] > title["x"], "the number is beside its title"
            assert meaning["y"] >= title["y"] + title["height"] - 1, "the meaning is below it"
            assert meaning["width"] > 250
        assert web.page.evaluate("document.documentElement.scrollWidth") <= 360
        assert faults_of(web.page, rules) == []
