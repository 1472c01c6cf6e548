"""What the hub does by itself, by its own API."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sciencebox.gpus.broker import Broker
from sciencebox.gpus.pool import GpuRequest
from sciencebox.gpus.queue import Ticket
from sciencebox.hub import caretaker
from sciencebox.hub.caretaker import Caretaker
from sciencebox.sessions.tickets import KeptTicket
from sciencebox.sessions.waiting import WaitingRoom
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tornado.httputil import HTTPServerRequest


class Api:
    """The hub's API: it remembers what it was asked, and fails as often as it is told to.

    It answers when it has been asked `together` times.
    """

    def __init__(self, together: int = 1) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.failures = 0
        self.fails_with = 500
        self.together = together
        self.enough = asyncio.Event()

    def answer(self, request: HTTPServerRequest) -> int:
        self.asked.append((str(request.method), request.path, request.headers.get("Authorization", "")))
        self.failures -= 1
        if len(self.asked) >= self.together:
            self.enough.set()
        return self.fails_with if self.failures >= 0 else 204


class Handler(RequestHandler):
    def initialize(self, api: Api) -> None:
        self.api = api

    async def delete(self, *_: Any) -> None:
        status = self.api.answer(self.request)
        await self.api.enough.wait()
        self.set_status(status)

    post = delete


@asynccontextmanager
async def served(api: Api) -> AsyncIterator[Caretaker]:
    """A caretaker who asks this API."""
    socket, port = bind_unused_port()
    server = HTTPServer(Application([(r"/(.*)", Handler, {"api": api})]))
    server.add_socket(socket)
    yield Caretaker(f"http://127.0.0.1:{port}/hub/api/", "secret")
    server.stop()
    await server.close_all_connections()


def keep_time(api: Api, over: list[list[str]]) -> list[tuple[str, str, str]]:
    """What is asked while time is kept and `over` is seen, look by look."""

    async def run() -> None:
        ended = asyncio.Event()
        looks: Iterator[list[str]] = iter(over)

        def look() -> list[str]:
            found = next(looks, None)
            if found is None:
                ended.set()
            return found or []

        async with served(api) as caretaker:
            task = asyncio.create_task(caretaker.keep_time(look))
            await asyncio.wait_for(ended.wait(), 10)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    return api.asked


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caretaker, "LOOK_EVERY_S", 0)


def test_the_sessions_whose_time_is_over_are_stopped_and_none_waits_for_another() -> None:
    asked = keep_time(Api(together=2), [[], ["ada", "o'neil/x"]])
    assert sorted(asked) == [
        ("DELETE", "/hub/api/users/ada/server", "token secret"),
        ("DELETE", "/hub/api/users/o%27neil%2Fx/server", "token secret"),
    ]


def test_one_that_cannot_be_stopped_is_tried_again_and_does_not_hold_up_the_others() -> None:
    api = Api()
    api.failures = 1
    asked = keep_time(api, [["ada", "bob"], ["ada"]])
    users = [path.split("/")[-2] for _, path, _ in asked]
    assert (sorted(users[:2]), users[2:]) == (["ada", "bob"], ["ada"])


@pytest.mark.parametrize(
    ("status", "failures", "asked", "left"), [(503, 1, 2, ["s-bob"]), (503, 9, 3, []), (400, 1, 1, [])]
)
async def test_who_waited_is_asked_for_again_while_it_is_not_his_request_that_is_wrong(
    status: int, failures: int, asked: int, left: list[str]
) -> None:
    api, kept = Api(), KeptTicket("s-bob", "bob", 100.0, {"gpu": "any", "gpu_count": 1}, [])
    api.failures, api.fails_with = failures, status
    room = WaitingRoom(Broker(), lambda _: None, lambda: 0.0, grace_s=60, show_names=True)
    room.expect([kept], [Ticket(kept.session, GpuRequest(kept.user), kept.arrived)])
    async with served(api) as caretaker:
        await caretaker.bring_back(room)
    assert [path for _, path, _ in api.asked] == asked * ["/hub/api/users/bob/server"]
    assert [each.session for each in room.expected] == left
