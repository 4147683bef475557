"""Spans of attempts to deliver a webhook: one of each that may have reached its receiver, none of others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from opentelemetry.trace import StatusCode

from core.service.net.resolver import LookupsBusy
from tests.helpers.fake_world import World
from tests.helpers.spans import PARENT, recording_spans
from tests.helpers.webhook_office import Office, Receiver, resolve_to_loopback, running
from tests.helpers.webhook_sender import OneShotSender
from worker.webhooks.delivery_loop import BUSY_SECONDS
from worker.webhooks.fair_queue import AddressBusy


@pytest.mark.parametrize("busy", [LookupsBusy("no room"), AddressBusy()])
def test_an_attempt_that_is_given_back_before_it_is_sent_has_no_span(world: World, busy: Exception) -> None:
    refused = [busy]

    async def look_up(url: str) -> Sequence[str]:
        if refused:
            raise refused.pop()
        return await resolve_to_loopback(url)

    with running(Receiver()) as receiver, recording_spans() as spans:
        office = Office(world, receiver.port)
        office.sender = OneShotSender(office.outbox, world.store, world.clock, office.settings, look_up=look_up)
        office.submit(trace=PARENT)
        office.chunk_done()
        assert office.sender.deliver_due() == 0
        assert [span.name for span in spans.all() if span.name == "webhook"] == []
        world.clock.advance(BUSY_SECONDS)
        assert office.sender.deliver_due() == 1
        (told,) = [span for span in spans.all() if span.name == "webhook"]
    assert (told.attributes or {})["longtake.attempt"] == 1
    assert told.status.status_code is StatusCode.UNSET
    assert len(receiver.received) == 1


def test_each_attempt_has_a_span_and_a_failed_one_says_so_without_the_url(world: World) -> None:
    with running(Receiver(status=500)) as receiver, recording_spans() as spans:
        office = Office(world, receiver.port)
        office.url = office.url.replace("http://", "http://user:secret@") + "&key=secret"
        office.submit(trace=PARENT)
        office.chunk_done()
        office.sender.deliver_due()
        told = [span for span in spans.all() if span.name == "webhook"]
    assert [(span.status.status_code, span.status.description) for span in told] == [
        (StatusCode.ERROR, "not delivered")
    ]
    assert not any("secret" in span.to_json() or "hook" in str(span.attributes) for span in told)
