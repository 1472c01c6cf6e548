"""What is made of a Kueue that is there in one version of its API, in another, or not at all."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from sciencebox.gpus.kueue import Place
from sciencebox.sessions.kueue import VERSIONS, VISIBILITY, Kueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PENDING = {"metadata": {"ownerReferences": [{"kind": "Pod", "uid": "5f3a"}]}} | {
    "positionInLocalQueue": 1,
    "positionInClusterQueue": 3,
}


@pytest.fixture
async def address(served: str) -> AsyncIterator[str]:
    """An API server with the visibility API in one version."""

    async def places(_: web.Request) -> web.Response:
        return web.json_response({"items": [PENDING]})

    application = web.Application()
    path = f"/apis/{VISIBILITY}/{served}/namespaces/hub/localqueues/gpus/pendingworkloads"
    application.router.add_get(path, places)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://{}:{}".format(*runner.addresses[0])
    await runner.cleanup()


@pytest.mark.parametrize(
    ("served", "places", "fault"),
    [
        (VERSIONS[0], {"5f3a": Place(1, 2)}, ""),
        (VERSIONS[-1], {"5f3a": Place(1, 2)}, ""),
        ("v9", {}, "404 Not Found"),
    ],
)
async def test_the_newest_version_that_is_served_is_asked(address: str, places: dict[str, Place], fault: str) -> None:
    async with aiohttp.ClientSession() as http:

        async def call_api(path: str, *_: Any, **__: Any) -> aiohttp.ClientResponse:
            return await http.get(f"{address}{path}")

        async def list_nothing(*_: Any, **__: Any) -> None:
            await asyncio.Event().wait()

        kueue = Kueue("gpus", "hub", lambda: None)
        api = SimpleNamespace(api_client=SimpleNamespace(call_api=call_api), list_namespaced_custom_object=list_nothing)
        kueue.open(api, lambda: False)
        await kueue.look()
        await kueue.close()
    assert (kueue.places, kueue.fault) == (places, fault)
