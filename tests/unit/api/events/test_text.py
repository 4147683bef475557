"""The text of events: links are filled in for each listener, all else is unchanged."""

from datetime import UTC, datetime

from api.events.text import ChunkLinks, page_of
from core.service.domain.schema import EventType, JobEvent

BASE_URL = "https://video.example"


def test_no_text_of_a_job_can_stand_for_the_listener_s_address() -> None:
    chunk = {"index": 0, "text": "\\u0000base \0base"}
    event = JobEvent(
        id="1-0", type=EventType.CHUNK_COMPLETED, job_id="job_a", at=datetime.now(UTC), data={"chunk": chunk}
    )
    text = page_of([event]).text_for(ChunkLinks(BASE_URL))
    assert text.count(BASE_URL) == 1
    assert f'"url":"{BASE_URL}/jobs/job_a/chunks/0.mp4' in text
    assert r'"\\u0000base \u0000base"' in text
