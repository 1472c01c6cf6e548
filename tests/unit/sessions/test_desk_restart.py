"""What the desk makes of containers that were there before it, of those that wait, and of lists that come late."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sciencebox.gpus.broker import Grant, Refusal
from sciencebox.gpus.reconcile import GPUS_LABEL, ContainerFacts
from sciencebox.sessions.options import to_user_options
from sciencebox.sessions.policy import ticket_of
from sciencebox.sessions.tickets import KeptTicket

from tests.unit.sessions.test_desk import (
    ONE_GPU,
    EngineInMemory,
    MakeDesk,
    container,
    engine,
    granted,
    make_desk,
)

if TYPE_CHECKING:
    import pytest
    from sciencebox.sessions.waiting import Standing

__all__ = ["engine", "make_desk"]


async def test_the_containers_say_who_holds_what_after_a_restart(engine: EngineInMemory, make_desk: MakeDesk) -> None:
    engine.found = [container("maria", "GPU-0"), container("jonas", "GPU-1", deployment="another")]
    told: asyncio.Queue[Standing] = asyncio.Queue()
    waiting = asyncio.create_task(make_desk().request("eva", ONE_GPU, "session-eva", tell=told.put_nowait))
    standing = await asyncio.wait_for(told.get(), 10)
    waiting.cancel()

    assert standing.holders == ("jonas", "maria")
    assert standing.event("eva")["in_use"] == "The GPUs are in use by jonas and maria."


async def test_a_list_that_comes_late_takes_no_session_that_runs_by_now_for_what_is_left_of_one(
    engine: EngineInMemory, make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = make_desk()
    (card,) = granted(await desk.request("maria", ONE_GPU, "session-maria")).devices
    listed, late = asyncio.Event(), asyncio.Event()

    async def containers(label: str = GPUS_LABEL) -> list[ContainerFacts]:
        listed.set()
        await late.wait()
        return [container("session-maria", card.uuid, state="created")]

    with monkeypatch.context() as slowly:
        slowly.setattr(engine, "containers", containers)
        old = asyncio.create_task(desk.refresh_ledger())
        await listed.wait()
    engine.found = [container("session-maria", card.uuid)]
    desk.settle("session-maria")
    assert await desk.refresh_ledger() == ()
    late.set()
    assert await old == ()
    assert [holding.session for holding in desk.ledger] == ["session-maria"]


async def test_who_waited_before_a_restart_keeps_the_place_while_the_engine_is_silent(
    engine: EngineInMemory, make_desk: MakeDesk
) -> None:
    desk, engine.up = make_desk(), False
    kept = KeptTicket("session-maria", "maria", 100.0, to_user_options(ONE_GPU), [])
    desk.room.expect([kept], [ticket_of(kept, desk.settings)])
    answer = await desk.request("maria", ONE_GPU, "session-maria")
    assert isinstance(answer, Refusal)
    assert [(place.ticket.session, place.ticket.arrived) for place in desk.queue()] == [("session-maria", 100.0)]

    back = asyncio.create_task(desk.changed.until(lambda: desk.readable))
    await asyncio.sleep(0)  # it listens
    engine.up = True
    await desk.refresh(max_age_s=0)
    await asyncio.wait_for(back, 5)
    assert isinstance(await desk.request("maria", ONE_GPU, "session-maria"), Grant)
    assert not desk.queue()
