"""Links of a job open without a key what players need, for a while, until they are revoked; and nothing else."""

from __future__ import annotations

import re
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from api import routes as packaged
from api.access.links import BY_LINK
from api.http.protection import takes_link_token
from core.service.domain.key_changes import revoked
from core.service.domain.link_tokens import link_token
from core.service.domain.manifest import chunk_key, read_manifest
from tests.helpers.api_world import World, submit
from tests.helpers.callers import Callers, path_of, told
from tests.helpers.customers import with_keys

BY_LINKS = ("chunks", "events", "playlist", "video", "thumbnail", "metrics")
DAY = 86_400


@pytest.fixture
def job_id(callers: Callers, world: World) -> str:
    """A finished job of two chunks of `callers.one`, whose objects exist."""
    made = submit(callers.one, num_frames=32, measure=True)
    world.finish(made)
    world.measure(made)
    record = world.store.get(made)
    keys = [chunk_key(made, index) for index in range(2)] + [str(record.video_key), str(record.thumbnail_key)]
    for key in keys:
        world.storage.put(key, bytes(3000), "video/mp4")
    return made


def links_for(caller: TestClient, job_id: str) -> dict[str, str]:
    answer = caller.get(f"/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return {name: path_of(url) for name, url in answer.json()["links"].items()}


def token_in(url: str) -> str:
    return url.partition("token=")[2].partition("&")[0]


def segments(playlist: str) -> list[str]:
    return [line for line in playlist.splitlines() if line and not line.startswith("#")]


def test_links_that_read_carry_a_token_and_all_others_none(callers: Callers, job_id: str) -> None:
    links = links_for(callers.one, job_id)
    assert {name for name, link in links.items() if "token=" in link} == set(BY_LINKS)
    assert len({token_in(links[name]) for name in BY_LINKS}) == 1
    assert links["self"] == f"/jobs/{job_id}"


@pytest.mark.parametrize("name", BY_LINKS)
def test_a_link_opens_without_a_key(callers: Callers, job_id: str, name: str) -> None:
    link = links_for(callers.one, job_id)[name]
    for method in ("GET", "HEAD"):
        assert callers.nobody.request(method, link).status_code == 200
    assert callers.other.get(link).status_code == 404  # a key counts, not the token beside it
    assert callers.one.get(link).status_code == 200


def test_a_playlist_opened_by_a_link_has_entries_with_its_token(callers: Callers, job_id: str) -> None:
    link = links_for(callers.one, job_id)["playlist"]
    playlist = callers.nobody.get(link).text
    assert [token_in(entry) for entry in segments(playlist)] == 2 * [token_in(link)]
    assert re.findall(r'URI="([^"]+)"', playlist) == segments(playlist)[:1]
    for entry in segments(playlist):
        answer = callers.nobody.get(f"/jobs/{job_id}/{entry}", headers={"Range": "bytes=0-9"})
        assert (answer.status_code, len(answer.content)) == (206, 10)


def test_a_playlist_that_a_key_reads_has_entries_with_new_tokens(callers: Callers, job_id: str) -> None:
    (entry, _) = segments(callers.one.get(f"/jobs/{job_id}/playlist.m3u8").text)
    assert callers.nobody.get(f"/jobs/{job_id}/{entry}").status_code == 200


def test_chunks_in_lists_and_events_have_links_that_open(callers: Callers, job_id: str) -> None:
    links = links_for(callers.one, job_id)
    listed = callers.nobody.get(f"{links['chunks']}&limit=1")
    streamed = callers.nobody.get(links["events"]).text
    included = callers.one.get(f"/jobs/{job_id}?include=chunks").json()["chunks"]
    told_urls = re.findall(r'"url":"([^"]+)"', streamed)
    assert len(told_urls) == len(included) == 2
    for url in (listed.json()["chunks"][0]["url"], *told_urls, *(chunk["url"] for chunk in included)):
        assert callers.nobody.get(path_of(url)).status_code == 200
    following = listed.headers["link"].partition("<")[2].partition(">")[0]
    assert [chunk["index"] for chunk in callers.nobody.get(path_of(following)).json()["chunks"]] == [1]


def test_links_of_refined_chunks_carry_a_token_too(callers: Callers, world: World) -> None:
    made = submit(callers.one, num_frames=16, refine=True)
    world.start(made)
    world.make_chunk(made)
    world.refine_chunk(made)
    (chunk,) = callers.one.get(f"/jobs/{made}/chunks").json()["chunks"]
    streamed = callers.one.get(f"/jobs/{made}?include=chunks").json()["chunks"][0]["refined_url"]
    assert re.fullmatch(r"\S+\?variant=refined&token=\S+", chunk["refined_url"])
    assert chunk["refined_url"] == streamed


def test_an_expired_link_says_so(callers: Callers, world: World, job_id: str) -> None:
    links = links_for(callers.one, job_id)
    world.clock.advance(DAY)
    assert callers.nobody.get(links["chunks"]).status_code == 200  # a day at least
    world.clock.advance(DAY)
    for name in BY_LINKS:
        status, problem = told(callers.nobody.get(links[name]))
        assert (status, problem["code"], bool(problem["fix"])) == (403, "link_expired", True)
    assert callers.nobody.get(links_for(callers.one, job_id)["chunks"]).status_code == 200


def test_what_a_link_answers_does_not_outlive_it(callers: Callers, world: World, job_id: str) -> None:
    link = links_for(callers.one, job_id)["chunks"]
    world.clock.advance(DAY)
    assert token_in(callers.nobody.get(link).json()["chunks"][0]["url"]) == token_in(link)
    assert links_for(callers.one, job_id)["chunks"] != link


def test_revoked_links_open_nothing_and_new_ones_do(callers: Callers, world: World, job_id: str) -> None:
    links = links_for(callers.one, job_id)
    assert callers.other.post(f"/jobs/{job_id}/revoke-links").status_code == 404
    assert callers.nobody.get(links["chunks"]).status_code == 200
    revoked = callers.one.post(f"/jobs/{job_id}/revoke-links")
    assert (revoked.status_code, revoked.content) == (204, b"")
    for name in BY_LINKS:
        assert callers.nobody.get(links[name]).status_code == 401
    assert callers.nobody.get(links_for(callers.one, job_id)["chunks"]).status_code == 200
    manifest, _ = read_manifest(world.storage.get(f"jobs/{job_id}/manifest.json"))
    assert manifest.job.link_secret == world.store.get(job_id).link_secret


def test_every_token_that_is_not_the_jobs_is_answered_as_no_key_is(callers: Callers, world: World, job_id: str) -> None:
    another = token_in(links_for(callers.one, submit(callers.one))["chunks"])
    secret, now = "0" * 32, world.clock.now()
    forged = link_token(job_id, secret, now.replace(year=now.year + 1))
    path = f"/jobs/{job_id}/chunks"
    without = told(callers.nobody.get(path))
    assert without[0] == 401
    assert "if you opened a link, GET the job for a new one" in without[1]["fix"]
    for token in (another, forged, "", "x", f"{another}x", "ff.", "%00", "0.äöü"):
        answer = callers.nobody.get(f"{path}?token={token}")
        assert (told(answer), answer.headers["www-authenticate"]) == (without, 'Bearer realm="longtake"')
        assert told(callers.nobody.get(f"/jobs/job_nowhere/chunks?token={token}")) == without


def test_a_job_of_an_older_version_has_links_without_token_until_they_are_revoked(
    callers: Callers, world: World, job_id: str
) -> None:
    world.store.memory.records[job_id] = world.store.get(job_id).model_copy(update={"link_secret": None})
    link = links_for(callers.one, job_id)["chunks"]
    assert (link, callers.nobody.get(link).status_code) == (f"/jobs/{job_id}/chunks", 401)
    callers.one.post(f"/jobs/{job_id}/revoke-links")
    assert callers.nobody.get(links_for(callers.one, job_id)["chunks"]).status_code == 200


def test_links_and_tags_are_the_same_for_a_period_and_then_new(callers: Callers, world: World, job_id: str) -> None:
    path, seen = f"/jobs/{job_id}", set[str]()
    for _ in range(24):
        seen.add(callers.one.get(path).headers["etag"])
        world.clock.advance(3600)
    assert len(seen) <= 2  # a day touches at most two periods
    known = callers.one.get(path).headers["etag"]
    assert callers.one.get(path, headers={"If-None-Match": known}).status_code == 304
    world.clock.advance(DAY)
    assert callers.one.get(path, headers={"If-None-Match": known}).status_code == 200
    known = callers.one.get(path).headers["etag"]
    callers.one.post(f"/jobs/{job_id}/revoke-links")
    assert callers.one.get(path, headers={"If-None-Match": known}).status_code == 200


def test_a_chunk_is_cached_for_others_only_by_its_link(callers: Callers, world: World, job_id: str) -> None:
    path = f"/jobs/{job_id}/chunks/0.mp4"
    link = f"{path}?token={token_in(links_for(callers.one, job_id)['chunks'])}"

    def caching(caller: TestClient, of: str) -> str:
        return caller.get(of).headers["cache-control"]

    assert caching(callers.one, path) == caching(callers.one, link) == "private, max-age=86400, immutable"
    assert caching(callers.nobody, link) == "public, max-age=86400, immutable"
    world.clock.advance(DAY)
    left = int(caching(callers.nobody, link).split("max-age=")[1].split(",")[0])
    assert 0 < left <= DAY
    world.clock.advance(left - 1)
    assert caching(callers.nobody, link) == "public, max-age=1, immutable"


def test_without_keys_links_have_no_token_and_one_counts_for_nothing(api: TestClient, world: World) -> None:
    made = submit(api, num_frames=16)
    world.finish(made)
    assert "token" not in api.get(f"/jobs/{made}?include=chunks").text
    for name in ("chunks", "events", "playlist.m3u8"):
        assert api.get(f"/jobs/{made}/{name}?token=x").status_code == 200
        assert "token" not in api.get(f"/jobs/{made}/{name}?token=x").text
    assert api.post(f"/jobs/{made}/revoke-links").status_code == 204


def test_the_routes_that_a_link_opens_are_those_that_say_so(callers: Callers) -> None:
    modules = [import_module(f"api.routes.{module.name}") for module in iter_modules(packaged.__path__)]
    routers = [module.router for module in modules if hasattr(module, "router")]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    assert len(routes) > 40
    for route in routes:
        for method in route.methods or ():
            declared = all(dependency in route.dependencies for dependency in BY_LINK)
            assert takes_link_token(method, route.path) is declared, (method, route.path)
    paths = callers.nobody.get("/openapi.json").json()["paths"]
    with_token = {path for path, of in paths.items() for op in of.values() if _takes_token(op)}
    assert with_token == {path for path in paths if takes_link_token("GET", path)}


def _takes_token(operation: dict[str, Any]) -> bool:
    return any(parameter.get("name") == "token" for parameter in operation.get("parameters", ()))


def test_links_end_with_the_key_of_the_job(callers: Callers, world: World, job_id: str) -> None:
    links, owner = links_for(callers.one, job_id), str(world.store.get(job_id).owner)
    of_admin = links_for(callers.admin, job_id)
    world.keys.change(owner, lambda key: revoked(key, world.clock.now()))
    world.clock.advance(1)
    without = told(callers.nobody.get(f"/jobs/{job_id}/chunks"))
    assert without[0] == 401
    for name in BY_LINKS:
        assert [callers.nobody.get(each[name]).status_code for each in (links, of_admin)] == [401, 401], name
    assert told(callers.nobody.get(links["chunks"])) == without
    assert callers.admin.get(links["chunks"]).status_code == 200


def test_links_of_the_operators_own_jobs_open(callers: Callers) -> None:
    links = links_for(callers.admin, submit(callers.admin))
    assert callers.nobody.get(links["chunks"]).status_code == 200


def test_links_to_a_cdn_carry_tokens_too(world: World) -> None:
    settings = with_keys(world.settings).model_copy(update={"media": "https://cdn.example"})
    with world.client(settings) as api:
        callers = Callers(cast(FastAPI, api.app), world)
        made = submit(callers.one, num_frames=16)
        world.finish(made)
        assert callers.one.get(f"/jobs/{made}").json()["links"]["video"].startswith("https://cdn.example/jobs/")
        (entry,) = segments(callers.one.get(f"/jobs/{made}/playlist.m3u8").text)
        assert re.fullmatch(rf"https://cdn\.example/jobs/{made}/chunks/0\.mp4\?token=\S+", entry)
