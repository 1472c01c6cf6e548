"""A live copy of what a cluster has, where its API server ends watches at once or answers oddly."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes_asyncio.client import ApiException
from sciencebox.sessions import cluster_watch
from sciencebox.sessions.cluster_watch import Follower

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOTHING = {"metadata": {"resourceVersion": "5"}, "items": []}
TOO_OLD = b'{"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}\n'


class Answer:
    """What the client gives for a list, or for a watch that ends at once."""

    def __init__(self, body: bytes) -> None:
        self.status = 200
        self.content = self
        self._body = body

    async def read(self) -> bytes:
        return self._body

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self._body

    async def __aenter__(self) -> Answer:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


async def _asked(listed: Any, watched: bytes | Exception) -> tuple[list[str], Follower]:
    """What a follower asks for until it has nothing to do but to wait, and the follower."""
    asked: list[str] = []

    async def request(**options: Any) -> Answer:
        await asyncio.sleep(0)
        asked.append("watch" if options.get("watch") else "list")
        if asked[-1] == "watch" and isinstance(watched, Exception):
            raise watched
        return Answer(watched if asked[-1] == "watch" else json.dumps(listed).encode())

    follower = Follower("pods", request, lambda: None)
    following = asyncio.create_task(follower.run())
    for _ in range(200):
        await asyncio.sleep(0)
    assert not following.done(), "it goes on, whatever it was told"
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return asked, follower


@pytest.mark.parametrize(
    "watched", [b"", TOO_OLD, ApiException(410, "Gone"), ApiException(500, "etcd"), OSError("cut off")]
)
async def test_an_api_server_that_ends_every_watch_at_once_is_not_asked_without_a_pause(
    watched: bytes | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_watch, "RETRY_S", 60)
    asked, _ = await _asked(NOTHING, watched)
    assert asked == ["list", "watch"]


@pytest.mark.parametrize("listed", [{**NOTHING, "items": None}, {"kind": "Status"}, []])
async def test_what_is_no_list_is_a_fault_and_is_asked_for_again(listed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_watch, "RETRY_S", 0)
    asked, follower = await _asked(listed, b"")
    assert follower.fault
    assert asked[:2] == ["list", "list"]
