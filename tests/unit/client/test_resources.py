"""API keys and webhooks: what is sent, and that secrets are read and not shown."""

from __future__ import annotations

from api.http.examples import STATUS_EXAMPLE
from client import ServiceStatus
from client.models import Key, NewKey
from core.service.domain.schema import WebhookDeliveryList
from tests.helpers.shown_jobs import MakeJob
from tests.unit.client.conftest import Ask, Recorder

KEY = {
    "id": "key_x",
    "name": "Example",
    "scope": "jobs",
    "limits": {"frames_per_day": 5},
    "created_at": "2026-01-02T03:04:05Z",
}
SECRETS = {"key": "lt_text", "webhook_secret": "whsec_secret"}
DELIVERY = {
    "id": "msg_x",
    "event": "job.succeeded",
    "url": "http://hooks.test",
    "state": "failed",
    "attempts": [{"at": "2026-01-02T03:04:05Z", "status_code": 503, "error": None, "duration_seconds": 0.1}],
    "created_at": "2026-01-02T03:04:05Z",
    "next_attempt_at": None,
}


def test_a_new_key_has_its_text_and_does_not_print_it(ask: Ask) -> None:
    api = Recorder({**KEY, **SECRETS})
    (made,) = ask(api, lambda client: client.keys.create("Example", limits={"frames_per_day": 5}))
    assert isinstance(made, NewKey)
    assert (made.key, made.webhook_secret) == ("lt_text", "whsec_secret")
    assert not any(secret in repr(made) for secret in SECRETS.values())
    body = {"name": "Example", "scope": "jobs", "limits": {"frames_per_day": 5}}
    assert api.sent == [("POST", "/keys", body)]


def test_keys_are_read_changed_and_rotated(ask: Ask) -> None:
    api = Recorder({**KEY, **SECRETS})
    read, current, *_ = ask(
        api,
        lambda client: client.keys.get("key_x"),
        lambda client: client.keys.current(),
        lambda client: client.keys.change("key_x", limits={"frames": None}),
        lambda client: client.keys.rotate("key_x"),
        lambda client: client.keys.rotate_webhook_secret("key_x", 60),
    )
    assert isinstance(read, Key)
    assert read.limits == current.limits == {"frames_per_day": 5}
    assert api.sent == [
        ("GET", "/keys/key_x", None),
        ("GET", "/key", None),
        ("PATCH", "/keys/key_x", {"limits": {"frames": None}}),
        ("POST", "/keys/key_x/rotate", {"grace_seconds": 86400}),
        ("POST", "/keys/key_x/rotate-webhook-secret", {"grace_seconds": 60}),
    ]


def test_priority_and_share_of_a_key_are_read_and_sent(ask: Ask) -> None:
    api = Recorder({**KEY, "limits": {"frames": 48, "max_priority": "high", "share": 2.5}})
    (changed,) = ask(api, lambda client: client.keys.change("key_x", limits={"max_priority": "high", "share": 2.5}))
    assert changed.limits == {"frames": 48, "max_priority": "high", "share": 2.5}
    assert api.sent == [("PATCH", "/keys/key_x", {"limits": {"max_priority": "high", "share": 2.5}})]


def test_the_status_is_read(ask: Ask) -> None:
    api = Recorder({**STATUS_EXAMPLE, "of_a_newer_api": 1})
    (status,) = ask(api, lambda client: client.status())
    assert status == ServiceStatus.model_validate(STATUS_EXAMPLE)
    assert status.workers[0].making[0].chunk == 3
    assert api.sent == [("GET", "/status", None)]


def test_all_keys_are_listed(ask: Ask) -> None:
    ((listed,),) = ask(Recorder({"keys": [KEY]}), lambda client: client.keys.list())
    assert listed.id == "key_x"


def test_webhooks_are_listed_sent_again_and_tried(ask: Ask, make_job: MakeJob) -> None:
    page = Recorder({"deliveries": [DELIVERY], "next_cursor": None, "dropped": 0})
    (deliveries,) = ask(page, lambda job: job.webhook_deliveries(5, "abc"), job=make_job())
    assert isinstance(deliveries, WebhookDeliveryList)
    assert deliveries.deliveries[0].attempts[0].status_code == 503
    one = Recorder(DELIVERY)
    ask(one, lambda job: job.redeliver_webhook("msg_x"), job=make_job())
    ask(
        one,
        lambda client: client.webhooks.ping("http://hooks.test", "whsec_x"),
        lambda client: client.webhooks.ping_result("ping_x"),
    )
    assert page.sent + one.sent == [
        ("GET", "/jobs/job_x/webhook-deliveries?limit=5&cursor=abc", None),
        ("POST", "/jobs/job_x/webhook-deliveries/msg_x/redeliver", None),
        ("POST", "/webhooks/ping", {"webhook_url": "http://hooks.test", "webhook_secret": "whsec_x"}),
        ("GET", "/webhooks/pings/ping_x", None),
    ]
