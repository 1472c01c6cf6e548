"""The desk keeps GPUs and sessions without GPUs apart when the driver or the engine fails."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from docker.errors import DockerException
from sciencebox.accounting.leases import Lease
from sciencebox.gpus.broker import Grant, Refusal
from sciencebox.gpus.device import Device, Inventory
from sciencebox.gpus.reconcile import DEPLOYMENT_LABEL, GPUS_LABEL, USER_LABEL, ContainerFacts, labels
from sciencebox.sessions import desk as desk_module
from sciencebox.sessions import look as look_module
from sciencebox.sessions.attach import DriverFiles
from sciencebox.sessions.desk import Desk
from sciencebox.sessions.identity import Identities
from sciencebox.sessions.options import SessionOptions
from sciencebox.sessions.refusals import AttachError
from sciencebox.settings import parse

if TYPE_CHECKING:
    from pathlib import Path

    from sciencebox.sessions.waiting import Standing

GIB = 1024**3
CARDS = tuple(Device(f"GPU-{n}", n, model="NVIDIA A100", memory_bytes=40 * GIB, minor=n) for n in range(2))
CPU = SessionOptions("", 1, GIB)
ONE_GPU = SessionOptions("", 1, GIB, gpu="any", gpu_count=1)


class EngineInMemory:
    """Containers of a container engine that may be switched off."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(4)
        self.found: list[ContainerFacts] = []
        self.up = True
        self.client = self

    async def run(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.wrap_future(self.threads.submit(call, *args))

    async def containers(self, label: str = GPUS_LABEL) -> list[ContainerFacts]:
        if not self.up:
            raise DockerException("connection refused")
        name, _, value = label.partition("=")
        return [c for c in self.found if name in c.labels and value in {"", c.labels[name]}]

    async def remove(self, container: str) -> None:
        self.found = [c for c in self.found if container not in {c.id, c.name}]

    async def endings(self) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield ""

    def info(self) -> dict[str, Any]:
        return {"DiscoveredDevices": [{"Source": "cdi", "ID": f"nvidia.com/gpu={card.uuid}"} for card in CARDS]}

    def version(self) -> dict[str, Any]:
        return {"Version": "28.5.2"}


@pytest.fixture
def engine() -> Iterator[EngineInMemory]:
    engine = EngineInMemory()
    yield engine
    engine.threads.shutdown(cancel_futures=True)


MakeDesk = Callable[..., Desk]


@pytest.fixture
def make_desk(engine: EngineInMemory, tmp_path: Path) -> MakeDesk:
    def make(read: Callable[[], Inventory] = lambda: Inventory(CARDS), *, settings: str = "", **driver: Any) -> Desk:
        parsed = parse(f"data_root: {tmp_path}/box\n{settings}", "sciencebox.yaml")
        identities = Identities(tmp_path / "homes", tmp_path)
        return Desk(parsed, engine, identities, read, lambda: DriverFiles(**driver))  # type: ignore[arg-type]

    return make


def container(name: str, *gpus: str, state: str = "running", deployment: str = "sciencebox") -> ContainerFacts:
    labels = {DEPLOYMENT_LABEL: deployment, USER_LABEL: name, GPUS_LABEL: ",".join(gpus)}
    return ContainerFacts(f"id-{name}", name, {k: v for k, v in labels.items() if v}, state)


def granted(answer: Grant | Refusal) -> Grant:
    assert isinstance(answer, Grant), answer
    return answer


async def test_the_end_of_a_session_is_told_when_the_engine_tells_it(
    make_desk: MakeDesk, engine: EngineInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endings() -> AsyncIterator[str]:
        yield "session-maria"
        await asyncio.Event().wait()

    told: asyncio.Queue[str] = asyncio.Queue()

    def listener(name: str) -> Callable[[], Any]:
        async def ended() -> None:
            told.put_nowait(name)

        return ended

    monkeypatch.setattr(engine, "endings", endings)
    desk = make_desk()
    desk.watched = {name: listener(name) for name in ("session-jonas", "session-maria")}
    await desk.open()
    try:
        async with asyncio.timeout(10):
            assert await told.get() == "session-maria"
        assert told.empty()
    finally:
        await desk.close()


async def test_an_engine_that_ends_its_stream_at_once_is_not_asked_without_a_pause(
    make_desk: MakeDesk, engine: EngineInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "RETRY_S", 60)
    listened = []

    async def endings() -> AsyncIterator[str]:
        listened.append(1)
        for name in ():
            yield name

    monkeypatch.setattr(engine, "endings", endings)
    desk = make_desk()
    await desk.open()
    for _ in range(100):
        await asyncio.sleep(0)
    await desk.close()
    assert len(listened) == 1


async def test_two_who_ask_at_once_get_different_cards_and_the_third_waits_for_one_of_them(make_desk: MakeDesk) -> None:
    desk = make_desk()
    await desk.open()
    told: asyncio.Queue[Standing] = asyncio.Queue()
    asked = {
        user: asyncio.create_task(desk.request(user, ONE_GPU, f"session-{user}", tell=told.put_nowait))
        for user in "abc"
    }
    try:
        async with asyncio.timeout(10):
            while (await told.get()).holders != ("a", "b"):
                pass
            had = {user: granted(await task).devices[0].uuid for user, task in asked.items() if task.done()}
            assert sorted(had.values()) == ["GPU-0", "GPU-1"]
            desk.release("session-a")
            assert granted(await asked["c"]).devices[0].uuid == had["a"]
    finally:
        await desk.close()


async def test_a_quota_bounds_the_session_and_then_refuses_it(make_desk: MakeDesk) -> None:
    desk = make_desk(settings="limits: {gpu_hours_week: 2}")
    now = time.time()
    leases: list[Lease] = []

    async def lately(user: str) -> list[Lease]:
        return [lease for lease in leases if lease.user == user]

    desk.lately = lately
    leases.append(Lease("maria", "session-maria", "GPU-0", "", now - 3600, now, ended=True))
    grant = granted(await desk.request("maria", ONE_GPU, "session-maria"))
    assert grant.until == pytest.approx(time.time() + 3600, abs=5)

    leases.append(Lease("jonas", "session-jonas", "GPU-0", "", now - 7200, now, ended=True))
    answer = await desk.request("jonas", ONE_GPU, "session-jonas")
    assert isinstance(answer, Refusal)
    assert answer.message.startswith("You have used up your 2 GPU hours of the last 7 days.")
    assert "in about 7 days" in answer.message
    assert isinstance(await desk.request("jonas", CPU, "session-jonas"), Grant)


async def test_no_gpu_is_granted_within_a_quota_that_cannot_be_read(make_desk: MakeDesk) -> None:
    answer = await make_desk(settings="limits: {gpu_hours_week: 2}").request("maria", ONE_GPU, "session-maria")
    assert isinstance(answer, Refusal)
    assert answer.code == "unreadable"


async def test_no_gpu_is_granted_while_the_engine_is_silent(engine: EngineInMemory, make_desk: MakeDesk) -> None:
    desk, engine.up = make_desk(), False
    answer = await desk.request("maria", ONE_GPU, "session-maria")

    assert desk.offer().reason == "The container engine does not answer."
    assert isinstance(answer, Refusal)
    assert answer.code == "unreadable"
    assert isinstance(await desk.request("maria", CPU, "session-maria"), Grant)


async def test_a_driver_that_never_answers_stops_only_gpus(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_module, "PATIENCE_S", 0.05)
    dead = threading.Event()

    def read() -> Inventory:
        dead.wait(30)
        return Inventory(CARDS)

    desk = make_desk(read)
    await desk.refresh()
    assert desk.offer().reason == "The NVIDIA driver does not answer."
    assert isinstance(await desk.request("maria", CPU, "session-maria"), Grant)

    monkeypatch.setattr(look_module, "PATIENCE_S", 30)
    began = time.monotonic()
    await desk.refresh(max_age_s=0)
    assert time.monotonic() - began < 10, "a call that hangs already is not waited for again"

    dead.set()
    async with asyncio.timeout(10):
        while desk.offer().reason:
            await desk.refresh(max_age_s=0)
    assert isinstance(await desk.request("maria", ONE_GPU, "session-maria"), Grant)


async def test_a_driver_that_hangs_is_not_waited_for_anew_whenever_a_call_is_given_up(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_module, "PATIENCE_S", 0.05)
    given_up = threading.Semaphore(0)

    def read() -> Inventory:
        given_up.acquire(timeout=30)
        return Inventory(readable=False, reason="It hangs.")

    desk = make_desk(read)
    await desk.refresh()
    async with asyncio.timeout(10):
        for _ in range(3):
            given_up.release()
            while desk.offer().reason != "It hangs.":
                await desk.refresh(max_age_s=0)
            monkeypatch.setattr(look_module, "PATIENCE_S", 30)
            await desk.refresh(max_age_s=0)
    given_up.release(9)


async def test_an_engine_that_hangs_is_not_taken_for_a_driver_that_does(
    make_desk: MakeDesk, engine: EngineInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_module, "PATIENCE_S", 5)
    answers = threading.Event()
    for _ in range(9):
        engine.threads.submit(answers.wait, 30)
    try:
        assert (await make_desk().cards.look()).readable
    finally:
        answers.set()


async def test_an_engine_that_does_not_say_how_it_attaches_gpus_is_not_waited_for_for_long(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_module, "PATIENCE_S", 0.05)
    answers = threading.Event()
    monkeypatch.setattr(EngineInMemory, "info", lambda _: answers.wait(30) and {})
    desk = make_desk()
    try:
        await asyncio.wait_for(desk.refresh(), 10)
        assert desk.offer().reason.endswith("the container engine does not answer.")
    finally:
        answers.set()


async def test_looks_at_a_slow_driver_at_the_same_time_do_not_take_it_for_dead(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "DRIVER_EVERY_S", 0)

    def read() -> Inventory:
        time.sleep(0.02)
        return Inventory(CARDS)

    desk = make_desk(read)
    await desk.open()
    try:
        for _ in range(20):
            await desk.refresh(max_age_s=0)
            assert desk.offer().reason == ""
    finally:
        await desk.close()


async def test_a_driver_that_fails_in_an_unknown_way_stops_only_gpus(make_desk: MakeDesk) -> None:
    def read() -> Inventory:
        raise RuntimeError("bus error")

    desk = make_desk(read)
    await desk.refresh()

    assert desk.offer().reason == "The GPUs cannot be read: bus error"


async def test_the_dead_are_removed_and_free_their_cards(engine: EngineInMemory, make_desk: MakeDesk) -> None:
    engine.found = [container("maria", "GPU-0", state="exited"), container("jonas", "GPU-1")]
    desk = make_desk()
    await desk.open()
    try:
        async with asyncio.timeout(10):
            while len(engine.found) > 1 or not (choice := desk.offer().any_gpu) or choice.free == 0:
                await desk.refresh(max_age_s=0)
    finally:
        await desk.close()
    assert [c.name for c in engine.found] == ["jonas"]


async def test_a_look_that_finds_nothing_new_tells_nobody(engine: EngineInMemory, make_desk: MakeDesk) -> None:
    desk = make_desk()
    await desk.refresh()
    with desk.changed.listen() as changed:
        await desk.refresh(max_age_s=0)
        assert not changed.is_set()

        engine.found = [container("maria", "GPU-0")]
        await desk.refresh(max_age_s=0)
        assert changed.is_set()


async def test_sessions_that_nobody_could_stop_are_removed(engine: EngineInMemory, make_desk: MakeDesk) -> None:
    begins = ContainerFacts("id-ada", "ada", labels("ada", CARDS[1:], "sciencebox", time.time() + 1), "running")
    left = [container("maria", "GPU-0"), container("jonas"), container("eva", deployment="another"), begins]
    engine.found, desk = left, make_desk()
    engine.up = False
    await desk.remove_strangers({"maria"})
    assert engine.found == left, "the engine did not say what there is"

    engine.up = True
    await desk.remove_strangers({"maria"})
    assert [c.name for c in engine.found] == ["maria", "eva", "ada"]


async def test_a_card_that_no_way_can_attach_is_told_before_anything_is_created(
    engine: EngineInMemory, make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EngineInMemory, "version", lambda _: {"Version": "20.10.24"})
    desk = make_desk(reason="libcuda.so.1 was not found.")
    await desk.open()
    await desk.close()

    assert desk.offer().reason.startswith("The GPUs of this server cannot be attached to sessions: ")
    with pytest.raises(AttachError) as caught:
        await desk.describe(Grant(CARDS[:1], "session-maria", "maria"), "maria", ONE_GPU)
    assert "administrator" in caught.value.user_message
    assert "libcuda.so.1 was not found" in caught.value.operator_message
