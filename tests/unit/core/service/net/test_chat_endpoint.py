"""The client of a chat endpoint: what it sends, and that every odd answer is one named error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from core.service.domain.errors import PromptEnhancerFailed
from core.service.net import chat_endpoint
from core.service.net.chat_endpoint import ChatEndpoint


def ask(answer: Callable[[httpx.Request], httpx.Response], key: str | None = None) -> str:
    endpoint = ChatEndpoint("http://127.0.0.1:1/v1", "small", key, httpx.MockTransport(answer))
    return asyncio.run(endpoint.answer("be brief", "a dog"))


def completion(content: Any) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"message": {"role": "assistant", "content": content}}]})


def test_it_asks_as_openai_s_api_is_asked() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return completion("a brown dog")

    assert ask(answer, "secret") == "a brown dog"
    (request,) = asked
    assert (request.method, str(request.url)) == ("POST", "http://127.0.0.1:1/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer secret"
    assert json.loads(request.content) == {
        "model": "small",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a dog"}],
    }


def test_without_a_key_nothing_is_sent_as_one() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers
        return completion("x")

    assert ask(answer) == "x"


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(500),
        httpx.Response(401, json={"error": "no"}),
        httpx.Response(307, headers={"location": "http://127.0.0.1:2/"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"choices": []}),
        httpx.Response(200, text="[" * 100_000),
        completion(None),
        completion([{"type": "text"}]),
        httpx.Response(200, content=b"x" * (chat_endpoint.MAX_BYTES + 1)),
    ],
    ids=["500", "401", "redirect", "html", "list", "no choice", "nested", "null", "parts", "long"],
)
def test_an_odd_answer_is_a_named_error_without_the_address(response: httpx.Response) -> None:
    with pytest.raises(PromptEnhancerFailed) as raised:
        ask(lambda _: response)
    assert "127.0.0.1" not in raised.value.message


def test_an_endpoint_that_is_down_is_a_named_error() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(PromptEnhancerFailed, match="does not answer"):
        ask(refuse)


def test_a_slow_endpoint_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_endpoint, "SECONDS", 0.05)

    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError(request)

    endpoint = ChatEndpoint("http://127.0.0.1:1/v1", "small", transport=httpx.MockTransport(hang))
    with pytest.raises(PromptEnhancerFailed, match="within"):
        asyncio.run(endpoint.answer("be brief", "a dog"))


def test_one_endpoint_serves_several_event_loops() -> None:
    endpoint = ChatEndpoint("http://127.0.0.1:1/v1", "small", transport=httpx.MockTransport(lambda _: completion("x")))
    assert [asyncio.run(endpoint.answer("be brief", "a dog")) for _ in range(2)] == ["x", "x"]
