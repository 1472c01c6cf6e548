"""The waiting room: who is called, who is told, and whose place is kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sciencebox.gpus.broker import Broker, Grant
from sciencebox.gpus.device import Device, Inventory
from sciencebox.gpus.pool import GpuRequest, Holding
from sciencebox.gpus.queue import Ticket
from sciencebox.sessions.tickets import KeptTicket, TicketFile
from sciencebox.sessions.waiting import COMEBACK_S, PlaceLostError, Standing, WaitingRoom

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = 1_790_000_000.0
OPTIONS = {"gpu": "any", "gpu_count": 1}


class House:
    """A server with one card, held by maria until an hour from now, and its waiting room."""

    def __init__(self, *, show_names: bool = True) -> None:
        self.now = NOW
        self.broker = Broker()
        self.broker.see_inventory(Inventory((Device("GPU-0", 0, "NVIDIA A100", 40),)), self.broker.look())
        self.broker.see_ledger((Holding("GPU-0", "maria", "s-maria", NOW, NOW + 3600),), self.broker.look(), NOW)
        self.kept: tuple[KeptTicket, ...] = ()
        self.room = WaitingRoom(self.broker, self.keep, lambda: self.now, grace_s=1800, show_names=show_names)

    def keep(self, tickets: tuple[KeptTicket, ...]) -> None:
        self.kept = tickets

    def ask(
        self, user: str, tell: Callable[[Standing], None] = lambda _: None, watched: Callable[[], bool] = lambda: True
    ) -> asyncio.Task[Grant]:
        kept = self.room.welcome_back(f"s-{user}", OPTIONS) or KeptTicket(f"s-{user}", user, self.now, OPTIONS, [])
        assert self.broker.ask(ticket(kept)) is None
        return asyncio.create_task(self.room.wait(kept, tell, watched))

    def free(self) -> None:
        self.broker.release("s-maria", self.now)
        self.room.serve()


def ticket(kept: KeptTicket) -> Ticket:
    return Ticket(kept.session, GpuRequest(kept.user), kept.arrived, longest_s=7200)


async def settled() -> None:
    """Everything that can go on has gone on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_everybody_is_told_where_they_stand_and_again_only_when_that_changes() -> None:
    house = House()
    told: dict[str, list[Standing]] = {"bob": [], "eva": []}
    bob = house.ask("bob", told["bob"].append)
    await settled()
    eva = house.ask("eva", told["eva"].append)
    await settled()
    house.room.serve()

    assert [(s.position, s.waiting) for s in told["bob"]] == [(1, 1), (1, 2)]
    assert [(s.position, s.ahead, s.holders) for s in told["eva"]] == [(2, ("bob",), ("maria",))]
    assert (told["bob"][-1].start, told["eva"][-1].start) == (NOW + 3600, NOW + 3 * 3600)

    house.free()
    assert (await bob).devices[0].uuid == "GPU-0"
    assert [s.position for s in told["eva"]] == [2, 1]
    assert told["eva"][-1].event("eva") == {
        "title": "You are next",
        "ahead": "Nobody is ahead of you.",
        "in_use": "The GPUs are in use by bob.",
        "start": NOW + 2 * 3600,
        "basis": "if every session before yours runs to its time limit; most end earlier",
    }
    eva.cancel()


async def test_names_are_left_out_where_the_site_hides_them() -> None:
    house = House(show_names=False)
    told: list[Standing] = []
    house.ask("bob")
    await settled()
    house.ask("eva", told.append)
    await settled()

    event = told[-1].event("eva")
    assert event["title"] == "You are number 2 of 2 in the queue"
    assert (event["ahead"], event["in_use"]) == (
        "1 other is ahead of you.",
        "The GPUs are in use by other sessions.",
    )


def test_of_a_crowd_a_handful_is_named() -> None:
    standing = Standing(9, 9, None, ahead=tuple("abcdefgh"), holders=tuple("abcdefgh"))
    told = standing.event("c")
    assert told["ahead"] == "Ahead of you: a, b, c, d, e and 3 more."
    assert told["in_use"] == "The GPUs are in use by a, b, d, e, f, 2 more and your own session."


async def test_who_leaves_is_out_of_the_queue_and_out_of_the_file() -> None:
    house = House()
    bob, eva = house.ask("bob"), house.ask("eva")
    await settled()
    assert [kept.user for kept in house.kept] == ["bob", "eva"]
    bob.cancel()
    await settled()

    assert [place.ticket.request.user for place in house.broker.queue(NOW)] == ["eva"]
    assert [kept.user for kept in house.kept] == ["eva"]
    eva.cancel()


async def test_a_place_is_kept_for_the_grace_time_and_not_longer() -> None:
    house = House()
    watched = True
    bob = house.ask("bob", watched=lambda: watched)
    await settled()
    house.now += 10_000
    house.room.dismiss_absent()
    watched = False
    house.now += 1800
    house.room.dismiss_absent()
    await settled()
    assert not bob.done()

    house.now += 1
    house.room.dismiss_absent()
    with pytest.raises(PlaceLostError, match="its page was closed for 30 minutes"):
        await bob
    assert not house.broker.queue(house.now)


async def test_a_restart_keeps_the_order_and_nobody_is_served_before_all_are_back() -> None:
    before, after = House(), House()
    for user in ("bob", "eva"):
        before.ask(user)
        await settled()
        before.now += 60
    before.room.close()

    after.now = before.now
    after.room.expect(before.kept, [ticket(kept) for kept in before.kept])
    newcomer, eva = after.ask("zoe"), after.ask("eva")
    await settled()
    after.free()
    await settled()
    assert not newcomer.done()
    assert not eva.done()

    bob = after.ask("bob")
    await settled()
    assert bob.done(), "the first before the restart is the first after it"
    assert [place.ticket.request.user for place in after.broker.queue(after.now)] == ["eva", "zoe"]
    assert sorted(kept.user for kept in after.kept) == ["eva", "zoe"]
    newcomer.cancel()
    eva.cancel()


async def test_who_does_not_come_back_holds_nobody_up() -> None:
    house = House()
    gone = KeptTicket("s-gone", "gone", NOW - 60, OPTIONS, [])
    house.room.expect([gone], [ticket(gone)])
    bob = house.ask("bob")
    house.free()
    await settled()
    assert not bob.done()
    house.now += COMEBACK_S + 1
    house.room.serve()
    await settled()
    assert bob.done()
    assert house.kept == ()


async def test_while_nobody_can_come_back_no_place_is_given_away() -> None:
    house = House()
    kept = KeptTicket("s-bob", "bob", NOW - 60, OPTIONS, [])
    house.room.expect([kept], [ticket(kept)])
    house.broker.see_ledger(None, house.broker.look(), NOW, "it does not answer")
    for _ in range(3):
        house.now += COMEBACK_S + 1
        house.room.serve()
    assert house.room.expected == (kept,)

    house.broker.see_ledger((), house.broker.look(), house.now)
    bob = house.ask("bob")
    await settled()
    assert bob.done()


async def test_who_comes_back_with_another_wish_begins_anew() -> None:
    house = House()
    kept = KeptTicket("s-bob", "bob", NOW - 60, {"gpu": "any", "gpu_count": 2}, [])
    house.room.expect([kept], [ticket(kept)])
    assert house.room.welcome_back("s-bob", OPTIONS) is None
    assert not house.broker.queue(NOW)


def test_tickets_are_kept_in_a_private_file(tmp_path: Path) -> None:
    file = TicketFile(tmp_path / "queue.json")
    assert file.read() == ()
    kept = (KeptTicket("s-bob", "bob", NOW, OPTIONS, ["students"]),)
    file.write(kept)
    assert file.read() == kept
    assert (tmp_path / "queue.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["{", "[{}]", "[3]", '{"a": 1}'])
def test_a_damaged_file_is_put_aside(tmp_path: Path, content: str) -> None:
    path = tmp_path / "queue.json"
    path.write_text(content)
    assert TicketFile(path).read() == ()
    assert path.with_suffix(".damaged").read_text() == content
