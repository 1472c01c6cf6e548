"""Writes down who has which GPU, and reminds the broker of it after a restart.

It writes whenever the ledger changes and every SAMPLE_S, so a crash loses at most that. Where the database cannot be
used, sessions go on and nothing is granted or refused for it; what could not be written is written at the next try.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from sciencebox.accounting.activity import Meter
from sciencebox.accounting.leases import SAMPLE_S, changes
from sciencebox.accounting.quota import WEEK_S, BooksError
from sciencebox.gpus.device import fraction

if TYPE_CHECKING:
    from sciencebox.accounting.leases import Lease
    from sciencebox.accounting.store import LeaseStore
    from sciencebox.gpus.pool import Holding
    from sciencebox.hub.base import AnyDesk

FRESH_S = 5.0  # how old what is read may be: each form asks, and each session every minute
HALF_LIVES = 20  # after which what was used counts less than a millionth

log = logging.getLogger(__name__)


class Accountant:
    """One for the hub."""

    def __init__(self, store: LeaseStore, desk: AnyDesk) -> None:
        self._store = store
        self._desk = desk
        self._meter = Meter()
        self._is_ready = False
        self._writing = asyncio.Lock()
        self._written: tuple[Holding, ...] = ()
        self._written_at = -inf

    async def open(self) -> None:
        """Make the tables, and tell the broker, which knows what is held now, what everybody used lately."""
        self._desk.watchers.append(self._meter.see)
        half_life_s = 3600 * self._desk.settings.queue.half_life_hours
        try:
            await asyncio.to_thread(self._store.migrate)
            self._is_ready = True
            lately = await asyncio.to_thread(self._store.since, time.time() - HALF_LIVES * half_life_s)
        except SQLAlchemyError as error:
            log.error("What was used of the GPUs lately is not known: %s", error)
            return
        held = {(holding.session, holding.uuid, holding.since) for holding in self._desk.ledger}
        for lease in lately:
            if lease.key not in held:  # what goes on is counted by the broker, from its beginning
                self._desk.see_use(lease.user, lease.since, lease.until, fraction(lease.device))

    async def run(self) -> None:
        """Write for as long as the hub runs: when somebody else holds something, and at a steady pace."""
        paced_at = -inf
        with self._desk.changed.listen() as changed:
            while True:
                await self._desk.refresh_ledger()
                changed.clear()  # what that look saw itself
                is_time = time.monotonic() - paced_at >= SAMPLE_S
                if is_time:
                    paced_at = time.monotonic()
                try:
                    await self._write_unless_known(0.0 if is_time else inf)
                except SQLAlchemyError as error:
                    log.error("Who has which GPU cannot be written down now: %s", error)
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(changed.wait(), SAMPLE_S)
                await asyncio.sleep(self._desk.together_s)

    async def _write_unless_known(self, for_s: float) -> None:
        """Write, unless what is held is what was written, and that less than `for_s` ago.

        Much changes that is nobody's lease: where somebody waits, or what a pod tells of its start.
        """
        async with self._writing:
            held = self._desk.ledger
            known = held == self._written and time.monotonic() - self._written_at < for_s
            if self._is_ready and self._desk.readable and not known:
                await self._write(held)
                self._written, self._written_at = held, time.monotonic()

    async def lately(self, user: str) -> list[Lease]:
        """A user's leases of the last seven days. Raises BooksError."""
        return await self.leases(time.time() - WEEK_S, user)

    async def leases(self, moment: float, user: str | None = None) -> list[Lease]:
        """What lasted beyond `moment`, of one user or of everybody. Raises BooksError."""
        if not self._is_ready:
            raise BooksError("the tables could not be made when the hub started")
        try:
            await self._write_unless_known(FRESH_S)  # what ended a moment ago counts
            if user is None:
                return await asyncio.to_thread(self._store.since, moment)
            return await asyncio.to_thread(self._store.of, user, moment)
        except SQLAlchemyError as error:
            raise BooksError(str(error)) from error

    async def _write(self, holdings: tuple[Holding, ...]) -> None:
        kinds = {device.uuid: device.kind for device in self._desk.inventory.devices}
        seen = self._meter.take()
        try:
            going = await asyncio.to_thread(self._store.going)
            leases = changes(going, holdings, kinds, time.time(), seen)
            if leases:
                await asyncio.to_thread(self._store.write, leases)
        except BaseException:
            self._meter.give_back(seen)
            raise
