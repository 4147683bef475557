"""The operator's chat endpoint (POST {base}/chat/completions, as OpenAI's, vLLM's, llama.cpp's or Ollama's), asked for
longer prompts. Its URL is the operator's, so it may be a private address."""

from __future__ import annotations

import json
import logging
import ssl
from functools import cache
from http import HTTPStatus
from typing import Any

import anyio
import httpx

from core.service.domain.errors import PromptEnhancerFailed

SECONDS = 10.0
"""Longest wait for an answer, the wait for a free place included."""
MAX_CONCURRENT = 32
MAX_BYTES = 256 * 1024
"""Longest answer that is read."""
_log = logging.getLogger(__name__)


class ChatEndpoint:
    """ports.PromptEnhancer. `key` is sent as bearer token. For any event loop; no thread waits for an answer."""

    def __init__(
        self, base_url: str, model: str, key: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = f"{base_url}/chat/completions"
        self._model = model
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._transport = transport
        self._places = anyio.Semaphore(MAX_CONCURRENT)

    async def answer(self, instructions: str, text: str) -> str:
        """Raises PromptEnhancerFailed, whose message is for clients; the log has the reason for the operator."""
        messages = [{"role": "system", "content": instructions}, {"role": "user", "content": text}]
        try:
            with anyio.fail_after(SECONDS):
                async with self._places:
                    return _text_of(await self._post({"model": self._model, "messages": messages}))
        except TimeoutError as error:
            raise _failed(f"it did not answer within {SECONDS:g} seconds") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            _log.warning("the prompt enhancer %s: %s: %s", self._url, type(error).__name__, error)
            raise _failed("it does not answer") from error

    async def _post(self, body: dict[str, Any]) -> bytes:
        """The body of a 200. Raises httpx.HTTPError, PromptEnhancerFailed."""
        # A client for each call: they are rare, and one client belongs to one event loop.
        async with (
            httpx.AsyncClient(
                transport=self._transport, verify=_certificates(), timeout=SECONDS, trust_env=False
            ) as client,
            client.stream("POST", self._url, json=body, headers=self._headers) as response,
        ):
            if response.status_code != HTTPStatus.OK:
                _log.warning("the prompt enhancer %s answers %d", self._url, response.status_code)
                raise _failed(f"it answers with HTTP {response.status_code}")
            data = bytearray()
            async for part in response.aiter_bytes():
                data += part
                if len(data) > MAX_BYTES:
                    raise _failed("its answer is too long")
            return bytes(data)


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: that takes as long as a request."""
    return httpx.create_ssl_context(trust_env=False)


def _text_of(body: bytes) -> str:
    """`choices[0].message.content` of an answer."""
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise _failed("its answer is no chat completion") from error
    if not isinstance(text, str):
        raise _failed("its answer is no text")
    return text


def _failed(why: str) -> PromptEnhancerFailed:
    return PromptEnhancerFailed(f"the endpoint that lengthens prompts gave no prompt: {why}")
