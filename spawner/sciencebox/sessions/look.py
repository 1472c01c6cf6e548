"""The cards as the driver has them, and how they reach a container: looked at in threads, with patience.

A look at the driver or the engine that hangs makes GPUs unavailable, with the reason; nobody waits for it twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from docker.errors import DockerException
from requests import RequestException

from sciencebox.gpus.device import Inventory
from sciencebox.gpus.health import HealthWatch
from sciencebox.gpus.shares import divide
from sciencebox.sessions import limits
from sciencebox.sessions.attach import ModeChoice, attach, choose_mode, engine_facts, no_gpu
from sciencebox.sessions.refusals import AttachError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from sciencebox.gpus.device import Device
    from sciencebox.gpus_section import Gpus
    from sciencebox.sessions.attach import Attachment, DriverFiles
    from sciencebox.sessions.engine import Engine

PATIENCE_S = 10.0  # how long a look may take before its absence is the answer
UNREADABLE = (DockerException, RequestException, OSError, asyncio.TimeoutError)
_NOT_YET = "The GPUs of this server were not looked at yet."
_SILENT = Inventory(readable=False, reason="The NVIDIA driver does not answer.")

log = logging.getLogger(__name__)


class Cards:
    """What the driver said last (`inventory`), and how its cards are attached (`choice`)."""

    def __init__(
        self,
        settings: Gpus,
        engine: Engine,
        read_devices: Callable[[], Inventory],
        find_driver: Callable[[], DriverFiles],
    ) -> None:
        self.inventory = Inventory(readable=False, reason=_NOT_YET)
        self.choice = ModeChoice(None, _NOT_YET)
        self._settings = settings
        self._engine = engine
        self._read_devices = read_devices
        self._find_driver = find_driver
        self.unlimited = _NOT_YET
        """Why a share's memory is not bounded, a clause; empty where it is."""
        self._chosen_for: tuple[str, ...] | None = None
        # Of its own: where the engine hangs, its calls take up all of the engine's.
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="driver")
        self._call: Future[Inventory] | None = None
        self._was_silent = False
        self._health = HealthWatch()

    async def look(self) -> Inventory:
        """Ask the driver. A call into a dead one may never return: it keeps its one thread.

        Who was silent is waited for again when a call has come back with something of use.
        """
        found = self._answer()
        if self._was_silent and not (found and found.readable):
            if found:
                self._ask()
        else:
            call = self._ask()
            await asyncio.wait({asyncio.wrap_future(call)}, timeout=PATIENCE_S)
            found = self._answer()
            self._was_silent = found is None
            if self._was_silent:
                log.error(_SILENT.reason)
        found = found or _SILENT
        if found.readable:
            found = replace(found, devices=self._health.see(found.devices, time.time()))
        self.inventory = divide(found, self._settings.shares if self.divides else ())
        return self.inventory

    def _ask(self) -> Future[Inventory]:
        self._call = self._threads.submit(self._read_devices)
        return self._call

    def _answer(self) -> Inventory | None:
        """What came of the last call; None where there was none, or it goes on."""
        if self._call is None or not self._call.done():
            return None
        try:
            return self._call.result()
        except Exception as error:  # whatever is wrong with GPUs must not stop a session that wants none
            log.exception("The GPUs cannot be read")
            return Inventory(readable=False, reason=f"The GPUs cannot be read: {error}")

    @property
    def divides(self) -> bool:
        """Whether GPUs are divided: not where it is known that nothing bounds their shares. `attach` looks again."""
        return bool(self._settings.shares) and (self._settings.unsafe_sharing or self.unlimited in {"", _NOT_YET})

    async def choose_if_others(self) -> None:
        """Choose how cards are attached, where they are not those for which that was chosen."""
        if self._chosen_for != self._uuids():
            await self.choose()

    async def choose(self) -> ModeChoice:
        """How the cards of now reach a container, by what the engine and the driver have now."""
        uuids, devices = self._uuids(), self.inventory.devices
        choice = ModeChoice(None, "")
        try:
            if devices:
                asking = self._engine.run(self._read_mode, devices)
                choice, self.unlimited = await asyncio.wait_for(asking, PATIENCE_S)
        except UNREADABLE as error:
            log.warning("The engine cannot be asked how it attaches GPUs: %s", error or type(error).__name__)
            choice, uuids = ModeChoice(None, "the container engine does not answer."), None
        self.choice, self._chosen_for = choice, uuids
        return choice

    async def attach(self, devices: Sequence[Device]) -> Attachment:
        """What a container needs for these devices. Raises AttachError."""
        if not devices:
            return no_gpu()
        choice = await self.choose()
        if choice.mode is None:
            raise AttachError("Your GPU cannot be attached on this server; tell the administrator.", choice.reason)
        attachment = attach(choice.mode, devices, await self._engine.run(self._find_driver))
        if choice.mode == "simulated" or not any(device.share for device in devices):
            return attachment
        bound = {} if self.unlimited else limits.environment(devices)
        missing = self.unlimited or ("" if bound else limits.SIZE_UNKNOWN)
        if missing and not self._settings.unsafe_sharing:  # what was granted was a share, and nothing bounds it
            raise AttachError("Shares of a GPU cannot be given out at the moment; tell the administrator.", missing)
        return replace(attachment, environment=attachment.environment | bound)

    def why_none(self) -> str:
        """Why no GPU can be had, whoever asks; empty where nothing stands in the way."""
        if not self.inventory.readable or not self.inventory.devices:
            return self.inventory.reason
        if self.choice.mode is None:
            return f"The GPUs of this server cannot be attached to sessions: {self.choice.reason}"
        return ""

    def _uuids(self) -> tuple[str, ...] | None:
        return tuple(device.uuid for device in self.inventory.devices)

    def _read_mode(self, devices: Sequence[Device]) -> tuple[ModeChoice, str]:
        if all(device.simulated for device in devices):
            return ModeChoice("simulated", "The GPUs are SIMULATED; nothing is attached."), ""
        client = self._engine.client
        facts, driver = engine_facts(client.info(), client.version()), self._find_driver()
        choice = choose_mode(self._settings.attach, facts, devices, driver)
        if not self._settings.shares:
            return choice, _NOT_YET
        return choice, limits.look(facts, choice.mode, driver.nvml)
