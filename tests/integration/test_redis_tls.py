"""Redis over TLS: records, messages and Sentinels, a whole job, and each fault with its setting and what mends it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from kombu.exceptions import OperationalError

from cli.main import main
from cli.processes.machine import LOOPBACK, free_port
from core.service.domain.errors import StoreMisconfigured, StoreUnavailable
from core.service.net.circuit_breaker import CircuitBreaker
from core.service.redis.client import REQUEST, WORKER, connect
from core.service.redis.errors import store_errors
from core.service.redis.queue import CPU_QUEUE, TASK_DELIVER_WEBHOOKS, make_celery_app
from core.service.redis.urls import BROKER, SentinelUrl
from core.service.settings import Settings
from tests.helpers.celery_worker import working
from tests.helpers.certificates import Authority
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.redis_programs import program_of
from tests.helpers.redis_server import RedisServer
from tests.helpers.redis_tls import LOGIN, World, tls_world
from tests.helpers.service import running_service


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with tls_world(tmp_path_factory.mktemp("tls")) as world:
        yield world


def refused(url: str, setting: str = BROKER) -> str:
    """What is said of it, with what to do."""
    with pytest.raises(StoreMisconfigured) as caught, store_errors():
        connect(url, REQUEST, setting=setting).ping()
    said = f"{caught.value.message}; {caught.value.fix}"
    assert setting in said
    assert "sesame" not in said
    return said


def a_message_is_sent_and_taken(url: str) -> None:
    app, done = make_celery_app(Settings(broker_url=url)), list[int]()

    def work() -> None:
        done.append(1)

    with working(app, TASK_DELIVER_WEBHOOKS, work, CPU_QUEUE):
        app.send_task(TASK_DELIVER_WEBHOOKS, queue=CPU_QUEUE)
        eventually(lambda: done, "the task")


def test_records_are_read_and_written(world: World) -> None:
    with connect(world.url(world.ca), REQUEST) as client:
        assert client.set("key", "value")
        assert client.get("key") == "value"
        assert client.register_script("return redis.call('GET', KEYS[1])")(keys=["key"]) == "value"


@pytest.mark.parametrize("options", ["{ca}", "{ca}&{certificate}", "ssl_cert_reqs=none"])
def test_messages_are_sent_and_taken(world: World, options: str) -> None:
    url = world.url(options.format(ca=world.ca, certificate=world.certificate))
    a_message_is_sent_and_taken(url)


def test_messages_go_to_no_server_whose_certificate_is_not_trusted(world: World) -> None:
    """kombu by itself takes any certificate if the URL does not say."""
    app = make_celery_app(Settings(broker_url=world.url()), REQUEST)
    with pytest.raises(OperationalError, match="signed by no CA") as caught:
        app.send_task(TASK_DELIVER_WEBHOOKS, queue=CPU_QUEUE)
    assert "sesame" not in str(caught.value)


def test_a_certificate_of_an_unknown_authority_is_refused(world: World, tmp_path: Path) -> None:
    assert "signed by no CA that is trusted here; name the CA's file in the URL: ssl_ca_certs=" in refused(world.url())
    other = Authority(tmp_path).file
    assert "signed by no CA" in refused(world.url(f"ssl_ca_certs={other}"))


def test_a_certificate_of_another_host_is_refused_unless_the_url_allows_it(world: World) -> None:
    program, tls = program_of(), world.authority.certificate("elsewhere", "DNS:redis.example")
    with RedisServer(world.server.folder.parent / "elsewhere", program=program, tls=tls) as elsewhere:
        assert "is not for this IP address" in refused(world.url(world.ca, server=elsewhere))
        assert "is for another host name" in refused(world.url(world.ca, host="localhost", server=elsewhere))
        url = f"rediss://{LOOPBACK}:{elsewhere.port}/0?{world.ca}&ssl_check_hostname=false&{world.certificate}"
        with connect(url, REQUEST) as client:
            assert client.ping()


def test_an_expired_certificate_is_refused(world: World) -> None:
    tls = world.authority.certificate("expired", days=-1)
    with RedisServer(world.server.folder.parent / "expired", program=program_of(), tls=tls) as server:
        assert "has expired; give Redis a new one" in refused(world.url(world.ca, server=server))


def test_a_server_that_wants_a_client_certificate_gets_one(world: World, tmp_path: Path) -> None:
    tls = world.authority.certificate("strict")
    with RedisServer(
        world.server.folder.parent / "strict", program=program_of(), tls=tls, wants_certificates=True
    ) as server:
        assert "asks for a client's certificate" in refused(world.url(world.ca, server=server))
        foreign = Authority(tmp_path).certificate("foreign")
        options = f"ssl_certfile={foreign.file}&ssl_keyfile={foreign.key}"
        assert "refuses the client's certificate" in refused(world.url(world.ca, options, server=server))
        with connect(f"rediss://{LOOPBACK}:{server.port}/0?{world.ca}&{world.certificate}", REQUEST) as client:
            assert client.ping()
        locked = world.authority.encrypted(world.client.key, "open")
        options = f"ssl_certfile={world.client.file}&ssl_keyfile={locked}"
        with connect(f"rediss://{LOOPBACK}:{server.port}/0?{world.ca}&{options}&ssl_password=open", REQUEST) as client:
            assert client.ping()
        assert "ssl_password" in refused(world.url(world.ca, options, server=server))


def test_a_url_with_and_a_port_without_tls_and_the_reverse(world: World) -> None:
    assert "does not speak TLS; use Redis' tls-port" in refused(world.url(server=world.plain))
    assert "speaks TLS, and the URL is without; write rediss://" in refused(world.url(scheme="redis"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("ssl_ca_certs=/nowhere/ca.pem", "names /nowhere/ca.pem, which cannot be read: No such file"),
        ("ssl_ca_certs={client.key}", "a file without certificates"),
        ("ssl_certfile={client.file}", "are not a certificate and its key"),
        ("ssl_keyfile={client.key}", "ssl_keyfile without ssl_certfile"),
        ("ssl_certfile={client.file}&ssl_keyfile=/nowhere/key", "names /nowhere/key"),
        ("ssl_ca_cert=/ca.pem", "an option ssl_ca_cert that is not known; use ssl_ca_certs"),
        ("ssl_cert_reqs=maybe", "use one of required, optional, none"),
        ("ssl_min_version=1.2", "give 771 for TLS 1.2 or 772 for TLS 1.3"),
        ("ssl_min_version=770", "give 771 for TLS 1.2 or 772 for TLS 1.3"),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_anything_connects(
    world: World, options: str, said: str
) -> None:
    url = world.url(options.format(client=world.client))
    with pytest.raises(StoreMisconfigured) as caught:
        connect(url, setting=BROKER)
    assert said in f"{caught.value.message}; {caught.value.fix}"
    assert "sesame" not in caught.value.message
    with pytest.raises(StoreMisconfigured, match=BROKER):
        make_celery_app(Settings(broker_url=url))


@pytest.mark.parametrize("url", ["redis://host/0?ssl_ca_certs=/a", "sentinel://host/0?master=m&ssl_ca_certs=/a"])
def test_tls_options_without_tls_are_refused(url: str) -> None:
    with pytest.raises(StoreMisconfigured, match="has ssl_ca_certs and no TLS"):
        connect(url)


@pytest.mark.parametrize("url", ["redis://:se/same@host:6379/0", "sentinel://:se/same@host/0?master=m"])
def test_a_password_that_is_not_escaped_is_not_quoted(url: str) -> None:
    with pytest.raises(StoreMisconfigured) as caught:
        connect(url)
    assert "%2F" in str(caught.value.fix)
    assert "same" not in caught.value.message
    assert caught.value.__suppress_context__


def test_what_waiting_does_not_mend_is_not_repeated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's calls are repeated six times when Redis does not answer; and while the breaker is open the reason
    stays the same."""
    sleeps: list[float] = []
    monkeypatch.setattr("redis.retry.sleep", sleeps.append)
    client = connect(world.url(), WORKER, CircuitBreaker(pause_seconds=60))
    for _ in range(2):
        with pytest.raises(StoreMisconfigured, match="signed by no CA"), store_errors():
            client.ping()
    assert sleeps == []


def test_a_server_that_is_away_is_away_and_not_misconfigured(world: World) -> None:
    with RedisServer(world.server.folder.parent / "away", program=program_of(), tls=world.server.tls) as server:
        url = world.url(world.ca, server=server)
        server.kill()
        with pytest.raises(StoreUnavailable), store_errors():
            connect(url, REQUEST).ping()
        server.start()
        with server.frozen(), pytest.raises(StoreUnavailable), store_errors():
            connect(url, REQUEST).ping()


@pytest.fixture
def watched(world: World, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """URLs of a master, its replica and their Sentinel, all with TLS and nothing else; called, with more options."""
    tls, program = world.server.tls, program_of()
    with RedisServer(tmp_path / "master", "--save", "", program=program, tls=tls) as master:
        config = f"sentinel monitor main {LOOPBACK} {master.port} 1\nsentinel down-after-milliseconds main 1000\n"
        sentinel = RedisServer(tmp_path / "sentinel", "--sentinel", config=config, program=program, tls=tls)
        with sentinel:

            def url(database: int = 0, *options: str) -> str:
                chosen = "&".join(("master=main", *options))
                return f"sentinel://{LOOPBACK}:{sentinel.port}/{database}?{chosen}"

            yield url


def test_sentinels_and_the_master_are_reached_over_tls(world: World, watched: Callable[..., str]) -> None:
    url = watched(0, "ssl=true", world.ca)
    with connect(url, REQUEST) as client:
        eventually(client.ping, "the master")
        assert client.set("key", "value")
    a_message_is_sent_and_taken(watched(1, "ssl=true", world.ca))


def test_sentinels_that_are_not_trusted_or_not_asked_with_tls_say_so(watched: Callable[..., str]) -> None:
    assert "signed by no CA" in refused(watched(0, "ssl=true"))
    assert "speaks TLS, and the URL is without; write rediss://, with Sentinels &ssl=true" in refused(watched())


def test_a_sentinel_url_with_tls_is_read(world: World) -> None:
    url = SentinelUrl.read(f"sentinel://a,b/0?master=m&ssl=TRUE&{world.ca}&ssl_check_hostname=false")
    assert url.tls == {
        "ssl_ca_certs": str(world.authority.file),
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": False,
    }
    assert SentinelUrl.read("sentinel://a/0?master=m").tls is None
    with pytest.raises(StoreMisconfigured):
        SentinelUrl.read("sentinel://a/0?master=m&ssl=perhaps")


def test_a_job_runs_over_tls_alone(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    write_fake_preset(tmp_path / "presets", "fake")
    url = f"rediss://{LOGIN}{LOOPBACK}:{world.server.port}"
    urls = {"redis_url": f"{url}/2?{world.ca}", "broker_url": f"{url}/3?{world.ca}&{world.certificate}"}
    with running_service(tmp_path, tmp_path / "presets", default_model="fake", **urls) as service:
        service.start_workers("fake")
        service.wait_for_success(service.submit(num_frames=32).id)
        assert service.redis_database(0).dbsize() == service.redis_database(1).dbsize() == 0
        assert "sesame" not in service.logs(10_000)


def test_readiness_and_the_worker_say_what_is_wrong(world: World, tmp_path: Path) -> None:
    write_fake_preset(tmp_path / "presets", "fake")
    with running_service(tmp_path, tmp_path / "presets", default_model="fake") as service:
        service.fronts.update({"redis_url": world.url(), "broker_url": world.url()})
        port = free_port()
        service.start_api(wait=False, port=port)
        reason = eventually(lambda: _unreadiness(port), "the API to answer")
        assert "LONGTAKE_REDIS_URL is signed by no CA" in reason
        assert "ssl_ca_certs=" in reason
        worker = service.start_worker("cpu", wait=False)
        eventually(lambda: "LONGTAKE_REDIS_URL is signed by no CA" in service.logs(100), "the worker's log", seconds=60)
        worker.check()
        assert "sesame" not in reason + service.logs(10_000)


def _unreadiness(port: int) -> str | None:
    try:
        answer = httpx.get(f"http://{LOOPBACK}:{port}/readyz", trust_env=False, timeout=30)
    except httpx.TransportError:
        return None
    assert answer.status_code == 503
    return answer.json()["redis"]["reason"]


def test_a_process_with_a_ca_that_is_not_there_does_not_start_and_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LONGTAKE_REDIS_URL", world.url("ssl_ca_certs=/nowhere/ca.pem"))
    assert main(["pause", "--list"]) == 1
    said = capsys.readouterr().err
    command = [sys.executable, "-m", "api.server", "--port", str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for text in (said, done.stderr):
        assert "ssl_ca_certs in LONGTAKE_REDIS_URL names /nowhere/ca.pem" in text
        assert "give the full path of a PEM file" in text
        assert "sesame" not in text
