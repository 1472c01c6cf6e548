"""The desk where sessions ask for GPUs: the pure broker, kept up to date from the driver and the engine.

The broker decides; the desk only looks (in threads, never on the event loop) and tells it what it saw. A look at the
driver or the engine that hangs makes GPUs unavailable, with the reason; sessions without a GPU go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sciencebox.accounting.quota import BooksError
from sciencebox.gpus import wording
from sciencebox.gpus.broker import Broker, Grant, Refusal
from sciencebox.gpus.processes import by_session
from sciencebox.gpus.reconcile import DEPLOYMENT_LABEL, labels, reconcile
from sciencebox.sessions import tasks
from sciencebox.sessions.launch import Launch, describe
from sciencebox.sessions.leasing import Leasing
from sciencebox.sessions.look import PATIENCE_S, UNREADABLE, Cards
from sciencebox.sessions.options import make_offer, to_user_options
from sciencebox.sessions.policy import HOUR_S, ticket_of, within
from sciencebox.sessions.signal import Signal
from sciencebox.sessions.snapshot import Snapshot
from sciencebox.sessions.stack import Stacks, too_new
from sciencebox.sessions.tickets import KeptTicket, TicketKeeper
from sciencebox.sessions.waiting import WaitingRoom

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from sciencebox.gpus.broker import Place
    from sciencebox.gpus.device import Health, Inventory
    from sciencebox.gpus.marks import Mark, MarkFile
    from sciencebox.gpus.pool import Holding
    from sciencebox.sessions.attach import DriverFiles
    from sciencebox.sessions.engine import Engine
    from sciencebox.sessions.extensions import Extensions
    from sciencebox.sessions.identity import Identities
    from sciencebox.sessions.options import Machine, Offer, SessionOptions
    from sciencebox.sessions.tickets import TicketFile
    from sciencebox.sessions.waiting import Standing
    from sciencebox.settings import Settings

FRESH_S = 1.0  # what was read within this time need not be read again
DRIVER_EVERY_S = 15.0
RETRY_S = 2.0
WAITING_LOOK_S = 5.0  # the driver's pace while somebody waits
STARTS_AT_ONCE = 24  # containers that are created at the same time; others wait a moment for their turn

log = logging.getLogger(__name__)


class Desk(Leasing):
    """One for the hub: every session's GPUs pass over it."""

    together_s = 0.0  # a change is looked at when it comes: what a start holds is then what its container says

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        identities: Identities,
        read_devices: Callable[[], Inventory],
        find_driver: Callable[[], DriverFiles],
        *,
        machine: Machine | None = None,
        tickets: TicketFile | None = None,
        marks: MarkFile | None = None,
        extensions: Extensions | None = None,
    ) -> None:
        super().__init__(settings, extensions)
        self.engine = engine
        self.starts = asyncio.Semaphore(STARTS_AT_ONCE)
        queue = settings.queue
        self.broker = Broker(
            half_life_s=queue.half_life_hours * HOUR_S, longest_wait_s=queue.longest_wait_hours * HOUR_S
        )
        self._tickets = tickets
        self._marks = marks
        self.room = WaitingRoom(
            self.broker,
            TicketKeeper(tickets, engine.run).keep if tickets else lambda _: None,
            time.time,
            grace_s=60 * queue.grace_minutes,
            show_names=settings.gpus.show_holders,
        )
        self._something_changed = asyncio.Event()
        self.changed = Signal()  # who has or wants what, for pages
        self._identities = identities
        self.cards = Cards(settings.gpus, engine, read_devices, find_driver)
        self._machine = machine
        self._engine_fault = ""
        self._containers: dict[str, str] = {}  # of each container with GPUs, by its id, the session
        self.stacks = Stacks(settings)
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._looking_at_driver = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self.watched: dict[str, Callable[[], Awaitable[None]]] = {}
        """By the name of its container, who wants to be told that a session has ended by itself."""
        self._telling: set[asyncio.Task[None]] = set()

    # Looking

    async def open(self) -> None:
        """Look once, then keep looking for as long as the hub runs. Who waited before a restart keeps the place."""
        await self.engine.run(self._extensions.read)
        await self.refresh()
        if self.settings.gpus.shares:  # whether they can be given out is known from the first look
            await self.refresh(max_age_s=0)
        if self._tickets:
            kept = await self.engine.run(self._tickets.read)
            self.room.expect(kept, [ticket_of(ticket, self.settings) for ticket in kept])
        self._tasks = [
            tasks.start(self._follow_engine(), "following the engine"),
            tasks.start(self._follow_driver(), "following the driver"),
            tasks.start(self._serve(), "serving the queue"),
        ]

    async def close(self) -> None:
        """Stop looking."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def refresh(self, max_age_s: float = FRESH_S) -> tuple[str, ...]:
        """Bring the broker up to date, unless a look began within the last `max_age_s`. Many callers share one look.

        Returns what `refresh_ledger` does.
        """
        oldest = time.monotonic() - max_age_s
        async with self._looking:
            if self._looked_at >= oldest:
                return ()
            began = time.monotonic()
            _, _, ghosts = await asyncio.gather(self.stacks.look(), self._look_at_driver(), self.refresh_ledger())
            if not self._engine_fault:  # else it is waited for a second time
                await self.cards.choose_if_others()
            self._looked_at = began
            return ghosts

    async def refresh_ledger(self) -> tuple[str, ...]:
        """Read from the engine who holds what. Returns the ids of containers of ours that hold GPUs without running."""
        look, before = self.broker.look(), (self.broker.ledger, self._engine_fault)
        try:
            containers = await asyncio.wait_for(self.engine.containers(), PATIENCE_S)
        except UNREADABLE as error:
            if not self.broker.is_outdated(look):  # else a later one was quicker
                self._engine_fault = "The container engine does not answer."
                log.error("The engine cannot be read, so no GPU is granted or freed: %s", error or type(error).__name__)
                self.broker.see_ledger(None, look, time.time(), "it does not answer")
            return ()
        if self.broker.is_outdated(look):
            return ()
        self._containers = {container.id: container.name for container in containers}
        ledger = reconcile(containers, self.settings.name, self.broker.in_motion(look))
        self.broker.see_ledger(self._extensions.apply(ledger.holdings), look, time.time())
        self._engine_fault = ""
        if (self.broker.ledger, "") != before:
            self._tell_of_a_change()
        return ledger.ghosts

    async def _look_at_driver(self) -> None:
        async with self._looking_at_driver:  # a call that is under way is not one that hangs
            look, before = self.broker.look(), self.readable
            found = await self.cards.look()
            self.broker.see_inventory(found, look)
            self.cards.inventory = by_session(found, self.broker.ledger, self._containers)
            if self.readable != before:
                self._tell_of_a_change()
        now = time.time()
        for see in self.watchers:
            see(self.inventory.devices, self.broker.ledger, now)

    async def _follow_engine(self) -> None:
        """A container that died frees its GPUs at once, whoever ended it."""
        while True:
            began = time.monotonic()
            await self._remove(await self.refresh_ledger())
            try:
                async for container in self.engine.endings():
                    await self._remove(await self.refresh_ledger())
                    if tell := self.watched.get(container):
                        telling = asyncio.create_task(self._tell_of_the_end(container, tell))
                        self._telling.add(telling)
                        telling.add_done_callback(self._telling.discard)
            except UNREADABLE as error:
                log.warning("The engine cannot be followed: %s", error)
            await asyncio.sleep(max(0.0, began + RETRY_S - time.monotonic()))

    async def _tell_of_the_end(self, container: str, tell: Callable[[], Awaitable[None]]) -> None:
        try:
            await tell()
        except UNREADABLE as error:
            log.warning("That %s has ended is told at the next poll: %s", container, error)

    async def _follow_driver(self) -> None:
        while True:
            await asyncio.sleep(DRIVER_EVERY_S)
            await self._look_at_driver()
            await self.cards.choose()

    async def _serve(self) -> None:
        """Call those whose turn it is, after every change and at a steady pace while somebody waits."""
        while True:
            pace = WAITING_LOOK_S if len(self.room) else None
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._something_changed.wait(), pace)
            self._something_changed.clear()
            if len(self.room):
                await self._remove(await self.refresh(max_age_s=0))
                self._something_changed.clear()  # what that look saw itself
                self.room.dismiss_absent()
                self.room.serve()

    async def _remove(self, containers: Iterable[str]) -> None:
        for container in containers:
            try:
                await self.engine.remove(container)
                log.warning("Removed the container %.12s: its session has ended and it held GPUs.", container)
            except UNREADABLE as error:
                log.error("The container %.12s holds GPUs and cannot be removed: %s", container, error)

    # What sessions ask

    def offer(self, groups: Iterable[str] = ()) -> Offer:
        """What a member of these groups may choose now."""
        offer = make_offer(
            self.settings,
            self.broker.availability(),
            self.stacks.environments,
            stack_fault=self.stacks.fault,
            reason=self._engine_fault or self.cards.why_none(),
            machine=self._machine,
        )
        notes = too_new(self.stacks.views, self.inventory.cuda_version) if offer.gpu_choices else ()
        return replace(self.policed(offer, groups), stack_notes=notes, shares_bounded=not self.cards.unlimited)

    def queue(self) -> tuple[Place, ...]:
        """Everybody who waits, the next one first."""
        return self.broker.queue(time.time())

    @property
    def inventory(self) -> Inventory:
        """What the driver said last."""
        return self.cards.inventory

    @property
    def ledger(self) -> tuple[Holding, ...]:
        """Who holds what, by the containers that there are."""
        return tuple(self.broker.ledger)

    @property
    def readable(self) -> bool:
        """Whether driver and engine answer."""
        return self.broker.readable

    def see_use(self, user: str, since: float, until: float, gpus: float = 1.0) -> None:
        """Somebody used so many GPUs, or a part of one, before the hub started."""
        self.broker.see_use(user, since, until, gpus)

    def snapshot(self) -> Snapshot:
        """Everything that pages show."""
        broker, choice = self.broker, self.cards.choice
        return Snapshot(
            self.inventory,
            self.offer(),
            broker.holders(),
            broker.unfit(),
            choice.mode or "none",
            choice.reason,
            readable=broker.readable,
            waiting=len(self.room),
        )

    async def request(
        self,
        user: str,
        options: SessionOptions,
        session: str,
        *,
        groups: Iterable[str] = (),
        tell: Callable[[Standing], None] = lambda _: None,
        is_watched: Callable[[], bool] = lambda: True,
    ) -> Grant | Refusal:
        """Grant what a session asks for, in its turn, or say why not. Without a GPU nothing can stand in the way.

        See `WaitingRoom.wait` for `tell` and `is_watched`. Raises PlaceLostError.
        """
        if not options.gpu_count:
            return Grant((), session, user)
        await self.refresh(max_age_s=0)
        asked = await self._ask(user, to_user_options(options), session, list(groups))
        if isinstance(asked, Refusal):
            self.answered(asked, 0.0)
            return asked
        self._tell_of_a_change()
        grant = await self.room.wait(asked, tell, is_watched)
        self.answered(grant, time.time() - asked.arrived)
        return grant

    async def _ask(self, user: str, wish: dict[str, Any], session: str, groups: list[str]) -> KeptTicket | Refusal:
        """Put a session into the queue, or say why it cannot be."""
        try:
            left = await self.budget(user, groups)
        except BooksError as error:
            log.error("The GPU hours of %s are not known: %s", user, error)
            return Refusal("unreadable", wording.quota_unreadable())
        # From here on nothing is waited for: who comes back to the queue is not out of it for a moment.
        back = self.room.welcome_back(session, wish)
        kept = back or KeptTicket(session, user, time.time(), wish, groups)
        ticket = within(left, ticket_of(kept, self.settings))
        refusal = ticket if isinstance(ticket, Refusal) else self.broker.ask(ticket)
        if back and refusal and refusal.code == "unreadable":  # that passes: the place is kept until then
            self.room.expect([*self.room.expected, back], [ticket_of(back, self.settings)])
        return refusal or kept

    def settle(self, session: str) -> None:
        """The start of a session is over, whatever came of it: from now on the engine says what it holds."""
        self.broker.confirm(session)
        self._tell_of_a_change()

    def release(self, session: str) -> None:
        """No container of this session exists."""
        self.broker.release(session, time.time())
        self._tell_of_a_change()

    async def describe(self, grant: Grant, safe_name: str, options: SessionOptions) -> Launch:
        """The container of a session. Raises AttachError or IdentityError where it cannot be prepared."""
        devices = grant.devices
        identity = await self.engine.run(self._identities.prepare, safe_name)
        return describe(
            self.settings,
            options,
            identity,
            await self.cards.attach(devices),
            devices,
            view=self.stacks.path(options.stack),
            until=grant.until,
            labels=labels(grant.user, devices, self.settings.name, time.time(), grant.until),
        )

    def _tell_of_a_change(self) -> None:
        self._something_changed.set()
        self.changed.tell()

    async def mark(self, mark: Mark) -> None:
        """Let nobody have a GPU: its session goes on. Raises MarksError."""
        await self._change_marks(lambda marks: marks.add(mark))

    async def unmark(self, uuid: str, health: Health, by: str) -> None:
        """Take that back. Raises MarksError."""
        await self._change_marks(lambda marks: marks.remove(uuid, health, by))

    async def _change_marks(self, change: Callable[[MarkFile], object]) -> None:
        if self._marks:
            await self.engine.run(change, self._marks)
            await self.refresh(max_age_s=0)
            self._tell_of_a_change()

    def holdings(self) -> tuple[Holding, ...]:
        """What sessions hold, by containers and by grants that have none yet."""
        return self.broker.holders()

    def is_wanted(self, session: str) -> bool:
        """Whether anybody waits: any card may be what comes next."""
        return len(self.room) > 0

    async def remove_strangers(self, known: Collection[str]) -> None:
        """Remove this deployment's session containers that are not `known` to the hub by name.

        A hub that was killed while it started a session comes back without knowing it; nobody could ever stop it. What
        began since this was asked is left alone. Where the engine does not answer, the next one to ask may do better.
        """
        asked_at = int(time.time())  # labels are in whole seconds
        try:
            containers = await self.engine.containers(f"{DEPLOYMENT_LABEL}={self.settings.name}")
        except UNREADABLE as error:
            log.error("It is not known which sessions are left over: %s", error)
            return
        await self._remove(c.id for c in containers if c.name not in known and (c.since or 0.0) < asked_at)
        await self.refresh_ledger()
