"""Errors of GPUs while sessions use them: heard from the driver, told to those who use the card, and acted upon.

A card whose own fault an error was goes into quarantine: its session goes on, and nobody else gets it until the server
was restarted and it shows no bad sign, or until an administrator releases it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from sciencebox.gpus import events, xid
from sciencebox.gpus.device import Health
from sciencebox.gpus.marks import BY_SERVICE, Mark, MarksError, this_boot
from sciencebox.sessions import tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from sciencebox.gpus.device import Device
    from sciencebox.gpus.pool import Holding

AGAIN_S = 600.0  # after which a program that ended is started again
ENDS_S = 10.0  # until which one that is killed has ended
_TOLD = {Health.QUARANTINED: "is in quarantine", Health.DRAINED: "is taken out of service"}
MOST_TOLD = 5  # of one session: one that fails again and again says nothing new

log = logging.getLogger(__name__)


class Faults:
    """One for the hub. `mark` lets nobody have a card, see `Desk.mark`."""

    def __init__(self, library: str, mark: Callable[[Mark], Awaitable[None]]) -> None:
        self._library = library
        self._mark = mark
        self._parents: dict[str, str] = {}  # the GPU of each device
        self._holdings: tuple[Holding, ...] = ()
        self._wanted: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._told: dict[str, list[str]] = {}
        self._out: dict[str, str] = {}  # why a device is not given out, by somebody's word
        self._ill: dict[str, Device] = {}  # in quarantine or taken out, by their own signs or by somebody's word

    def see(self, devices: Collection[Device], holdings: Collection[Holding], _now: float) -> None:
        """What there is and who holds it: those cards are listened to."""
        self._parents = {device.uuid: device.parent_uuid or device.uuid for device in devices if not device.simulated}
        self._holdings = tuple(holdings)
        self._out = {device.uuid: device.health_reason for device in devices if device.marked}
        self._ill = {device.uuid: device for device in devices if device.health in _TOLD}
        sessions = {holding.session for holding in holdings}
        self._told = {session: told for session, told in self._told.items() if session in sessions}
        used = frozenset(self._parents[h.uuid] for h in holdings if h.uuid in self._parents)
        # To listen keeps every card in use, and a card that was taken out may be about to be reset.
        taken_out = any(d.drained and self._parents.get(d.uuid) not in used for d in devices)
        wanted = frozenset() if taken_out else used
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    def told(self, session: str) -> list[str]:
        """What the user of a session should know of its GPUs, in sentences: errors as they came, then what is now."""
        heard = self._told.get(session, [])
        mine = (self._ill[h.uuid] for h in self._holdings if h.session == session and h.uuid in self._ill)
        # An error that put a card into quarantine was told as such, unless the hub has been restarted since.
        return [*heard, *(_in_words(d) for d in mine if not any(d.health_reason in words for words in heard))]

    async def run(self) -> None:
        """Listen for as long as the hub runs."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._wanted:
                try:
                    await self._listen(self._wanted)
                except OSError as error:  # as where the server has too many processes
                    log.error("The driver's errors cannot be heard: %s", error)
                    asyncio.get_running_loop().call_later(AGAIN_S, self._changed.set)

    async def _listen(self, uuids: frozenset[str]) -> None:
        """Until other cards are in use."""
        command = [sys.executable, "-m", events.__name__, self._library, *sorted(uuids)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        reading = tasks.start(self._read(process), "hearing the driver's errors")
        try:
            await self._changed.wait()
        finally:
            reading.cancel()
            if process.returncode is None:
                process.kill()
            with suppress(asyncio.TimeoutError):  # a driver that hangs may keep the process for good
                await asyncio.wait_for(process.wait(), ENDS_S)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        while process.stdout and (line := await process.stdout.readline()):
            uuid, number = line.split()
            await self.heard(uuid.decode(), int(number))
        await asyncio.sleep(AGAIN_S)
        self._changed.set()

    async def heard(self, uuid: str, number: int) -> None:
        """A GPU had an XID error."""
        verdict = xid.judge(number)
        log.warning("The driver reported XID %d on the GPU %s", number, uuid)
        sessions = {h.session for h in self._holdings if self._parents.get(h.uuid) == uuid}
        words = verdict.user if len(sessions) == 1 else verdict.users
        for session in sessions if words else ():
            told = self._told.setdefault(session, [])
            if words not in told:
                self._told[session] = [*told, words][-MOST_TOLD:]
        if verdict.card and verdict.card != self._out.get(uuid):  # else it is out already
            boot = await asyncio.to_thread(this_boot)
            mark = Mark(uuid, verdict.card, BY_SERVICE, time.time(), Health.QUARANTINED, boot)
            try:
                await self._mark(mark)
            except MarksError as error:
                log.error("The GPU %s failed and cannot be put into quarantine: %s", uuid, error)


def _in_words(device: Device) -> str:
    return f"GPU {device.index} of your session {_TOLD[device.health]}: {device.health_reason}. Save what you can."
