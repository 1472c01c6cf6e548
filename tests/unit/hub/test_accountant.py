"""When the books are written: at once when somebody else holds something, and not for everything that changes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sciencebox.accounting.leases import Lease
from sciencebox.gpus.device import Device, Inventory
from sciencebox.gpus.pool import Holding
from sciencebox.hub.accountant import Accountant
from sciencebox.sessions.signal import Signal
from sciencebox.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CARD = Device("GPU-1", 0, "A100", 80 * 2**30)
HELD = Holding("GPU-1", "maria", "session-maria", 100.0)


class Desk:
    """As much of a desk as the accountant asks; it counts how often it looks."""

    together_s = 0.0

    def __init__(self) -> None:
        self.settings = Settings()
        self.inventory = Inventory((CARD,))
        self.watchers: list[Any] = []
        self.changed = Signal()
        self.readable = True
        self.ledger: tuple[Holding, ...] = ()
        self.looks = 0
        self.used: list[tuple[str, float]] = []

    def see_use(self, user: str, since: float, until: float, gpus: float = 1.0) -> None:
        """Keep it, in GPU-seconds."""
        self.used.append((user, gpus * (until - since)))

    async def refresh_ledger(self) -> None:
        """Look."""
        self.looks += 1


class Store:
    """Books that are kept in memory."""

    def __init__(self) -> None:
        self.written: list[list[Lease]] = []
        self.read = 0
        self.before: list[Lease] = []

    def migrate(self) -> None:
        """There is nothing to make."""

    def since(self, _moment: float) -> list[Lease]:
        """What was written before the hub started."""
        return self.before

    def going(self) -> list[Lease]:
        """What was written last."""
        self.read += 1
        return self.written[-1] if self.written else []

    def write(self, leases: Any) -> None:
        """Keep it."""
        self.written.append(list(leases))


@asynccontextmanager
async def at_work(desk: Desk, store: Store) -> AsyncIterator[Accountant]:
    """An accountant that has written for the first time."""
    accountant = Accountant(store, desk)  # type: ignore[arg-type]
    await accountant.open()
    work = asyncio.create_task(accountant.run())
    await seen(lambda: store.read == 1)
    yield accountant
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def seen(condition: Callable[[], bool]) -> None:
    """Return when it holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - whatever the test waits for
            await asyncio.sleep(0.001)


@pytest.mark.asyncio
async def test_who_holds_something_new_is_written_at_once() -> None:
    desk, store = Desk(), Store()
    async with at_work(desk, store):
        desk.ledger = (HELD,)
        desk.changed.tell()
        await seen(lambda: bool(store.written))
        assert [lease.user for lease in store.written[0]] == ["maria"]


@pytest.mark.asyncio
async def test_a_change_that_is_nobody_s_lease_is_looked_at_and_not_written() -> None:
    desk, store = Desk(), Store()
    async with at_work(desk, store):
        for looks in range(2, 7):
            desk.changed.tell()
            await seen(lambda looks=looks: desk.looks == looks)
        assert store.read == 1


@pytest.mark.asyncio
async def test_a_share_that_was_used_before_the_hub_started_counts_as_its_part_of_a_gpu() -> None:
    desk, store = Desk(), Store()
    for user, device in (("ada", "GPU-1:1of8"), ("bob", "GPU-2")):
        store.before.append(Lease(user, f"session-{user}", device, "A100", 0.0, 800.0, ended=True))
    await Accountant(store, desk).open()  # type: ignore[arg-type]
    assert desk.used == [("ada", 100.0), ("bob", 800.0)]


@pytest.mark.asyncio
async def test_what_was_written_a_moment_ago_is_not_written_again_for_everybody_who_asks() -> None:
    desk, store = Desk(), Store()
    desk.ledger = (HELD,)
    async with at_work(desk, store) as accountant:
        await asyncio.gather(*(accountant.leases(0.0) for _ in range(20)))
        assert store.read == 1
        desk.ledger = ()  # it ended: that counts at once
        await asyncio.gather(*(accountant.leases(0.0) for _ in range(20)))
        assert store.read == 2
        assert [lease.ended for lease in store.written[-1]] == [True]
