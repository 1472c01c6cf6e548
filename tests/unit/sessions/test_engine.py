"""What an engine answers, or does not, over its socket: nobody waits in vain, and no session is given up for it."""

from __future__ import annotations

import asyncio
import json
import socketserver
import threading
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from docker.errors import APIError, DockerException
from requests import RequestException
from sciencebox import settings as settings_file
from sciencebox.sessions import engine as engine_module
from sciencebox.sessions.docker import GPUDockerSpawner
from sciencebox.sessions.engine import Engine
from sciencebox.sessions.options import SessionOptions
from sciencebox.sessions.refusals import AttachError
from sciencebox.sessions.starting import StartRefused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "sciencebox-session-maria"
RUNNING = {"Id": "0123456789ab", "State": {"Running": True}}
ENDED = {"Id": "0123456789ab", "State": {"Running": False, "ExitCode": 137, "Error": "", "FinishedAt": "now"}}

Answers = dict[tuple[str, str], tuple[int, Any]]


@pytest.fixture
def answers() -> Answers:
    """By method and path, without the version: status, and what is told as JSON, of a list as a stream."""
    return {("GET", "/version"): (200, {"ApiVersion": "1.43", "Version": "24.0.0"})}


@pytest.fixture
def over() -> threading.Event:
    """Set when the engine is to end its streams."""
    return threading.Event()


@pytest.fixture
def engine(answers: Answers, over: threading.Event, tmp_path: Path) -> Iterator[Engine]:
    """An engine that gives these answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            status, told = answers[(self.command, self.path.partition("?")[0].removeprefix("/v1.43"))]
            self.send_response(status)
            self.send_header("Connection", "close")
            if isinstance(told, list):
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for line in (f"{json.dumps(each)}\n" for each in told):
                    self.wfile.write(f"{len(line):x}\r\n{line}\r\n".encode())
                over.wait(10)
                self.wfile.write(b"0\r\n\r\n")
            else:
                text = json.dumps(told).encode()
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        do_DELETE = do_POST = do_GET  # noqa: N815 - http.server's names

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        def handle_error(self, *_: object) -> None:
            """Who asked has gone away."""

    with Server(str(tmp_path / "engine.sock"), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        found = Engine(f"unix://{tmp_path}/engine.sock")
        yield found
        over.set()
        found.threads.shutdown(cancel_futures=True)
        server.shutdown()


async def _ended(engine: Engine) -> list[str]:
    async with asyncio.timeout(10), aclosing(engine.endings()) as endings:
        return [name async for name in endings]


async def test_who_has_ended_is_told_at_once_and_until_the_engine_goes_away(
    engine: Engine, answers: Answers, over: threading.Event
) -> None:
    names, labels = ("session-maria", "session-jonas"), {f"label-{n}": "of the image" for n in range(100)}
    said = [{"Actor": {"Attributes": {**labels, "name": name}}} for name in names]
    answers[("GET", "/events")] = (200, said)
    async with asyncio.timeout(10), aclosing(engine.endings()) as endings:
        assert (await anext(endings), await anext(endings)) == names
        over.set()
        assert [name async for name in endings] == []


async def test_an_engine_that_says_nothing_is_asked_anew(
    engine: Engine, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "EVENTS_SILENCE_S", 0.1)
    answers[("GET", "/events")] = (200, [])
    assert await _ended(engine) == []


async def test_an_engine_that_is_not_up_is_told_to_who_listens_for_endings(engine: Engine, answers: Answers) -> None:
    answers[("GET", "/version")] = (503, {"message": "starting"})
    with pytest.raises(DockerException, match="starting"):
        await _ended(engine)


async def test_an_engine_that_refuses_to_tell_of_endings_says_so(engine: Engine, answers: Answers) -> None:
    answers[("GET", "/events")] = (403, {"message": "forbidden"})
    with pytest.raises(RequestException, match="403"):
        await _ended(engine)


async def test_a_container_that_somebody_else_removes_is_waited_for(engine: Engine, answers: Answers) -> None:
    answers[("DELETE", f"/containers/{NAME}")] = (409, {"message": "removal of container is already in progress"})
    answers[("POST", f"/containers/{NAME}/wait")] = (500, {"message": "it is not removed"})
    with pytest.raises(APIError, match="it is not removed"):
        await engine.remove(NAME)
    for answer in ((200, {"StatusCode": 0}), (404, {"message": "no such container"})):
        answers[("POST", f"/containers/{NAME}/wait")] = answer
        await engine.remove(NAME)


@pytest.mark.parametrize("status", [204, 404])
async def test_a_container_is_gone_when_it_is_removed_or_was_not_there(
    engine: Engine, answers: Answers, status: int
) -> None:
    answers[("DELETE", f"/containers/{NAME}")] = (status, {"message": "no such container"})
    await engine.remove(NAME)


async def test_cards_are_not_given_on_as_long_as_their_container_may_be_there(engine: Engine, answers: Answers) -> None:
    async def granted(*_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(devices=())

    async def fails(*_: Any) -> None:
        raise AttachError("It cannot be attached.", "a test")

    spawner, told = _spawner(engine), []
    spawner.options = SessionOptions("", 1, 2**30)
    desk = spawner.desk
    desk.request, desk.describe, desk.starts = granted, fails, asyncio.Semaphore(1)
    desk.settings, desk.release, desk.settle = settings_file.parse("", "test"), told.append, lambda _: None
    for removed, released in ((500, []), (204, [NAME])):
        answers[("DELETE", f"/containers/{NAME}")] = (removed, {"message": "device or resource busy"})
        with pytest.raises(StartRefused, match="It cannot be attached"):
            await spawner.start()
        assert told == released, "where it is uncertain, the engine has the say"


async def test_who_got_no_card_leaves_nothing_to_remove(engine: Engine) -> None:
    spawner, told = _spawner(engine), []
    spawner.desk.release, spawner.desk.settle = told.append, lambda _: None
    with pytest.raises(StartRefused):  # and the engine, which has no answer for it, is not asked
        await spawner.start()
    assert told == [NAME]


@pytest.mark.parametrize(
    ("answer", "is_over"),
    [
        pytest.param((200, RUNNING), False, id="running"),
        pytest.param((200, ENDED), True, id="ended"),
        pytest.param((404, {"message": "no such container"}), True, id="gone"),
        pytest.param((500, {"message": "context deadline exceeded"}), False, id="an engine in trouble"),
        pytest.param((503, {"message": "shutting down"}), False, id="an engine that goes down"),
    ],
)
async def test_a_session_is_over_only_where_the_engine_knows_it(
    engine: Engine, answers: Answers, answer: tuple[int, Any], is_over: bool
) -> None:
    spawner = _spawner(engine)
    answers[("GET", f"/containers/{NAME}/json")] = answer
    assert (await spawner.poll() is not None) is is_over

    answers[("GET", f"/containers/{NAME}/json")] = (404, {"message": "no such container"})
    assert await spawner.poll() is not None, "what was not known before is known then"


async def test_an_engine_that_is_not_up_ends_no_session(engine: Engine, answers: Answers) -> None:
    answers[("GET", "/version")] = (503, {"message": "starting"})
    assert await _spawner(engine).poll() is None


def _spawner(engine: Engine) -> GPUDockerSpawner:
    desk = SimpleNamespace(engine=engine)
    user = SimpleNamespace(name="maria", settings={"app": SimpleNamespace(desk=desk)}, groups=[], url="/user/maria/")
    return GPUDockerSpawner(user=user, name_template=NAME, object_id=RUNNING["Id"])
