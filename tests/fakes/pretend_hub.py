"""The hub's end of `little_hub`: a process with the hub's own pages, on a desk and sessions that only pretend.

`python -m tests.fakes.pretend_hub STATE PORT ACCOUNTS` reads what there is from the file STATE whenever it looks.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bcrypt
from jupyterhub.proxy import Proxy
from sciencebox import settings as settings_file
from sciencebox.accounting.quota import budget
from sciencebox.gpus.broker import Broker, Place
from sciencebox.gpus.device import Health, Inventory
from sciencebox.gpus.marks import Mark, marked
from sciencebox.gpus.pool import GpuRequest, Holding
from sciencebox.gpus.queue import Ticket
from sciencebox.hub import config
from sciencebox.hub.app import ScienceBoxHub
from sciencebox.sessions.docker import GPUDockerSpawner
from sciencebox.sessions.engine import Engine
from sciencebox.sessions.idle import IdleRule, IdleWatch
from sciencebox.sessions.leasing import Leasing
from sciencebox.sessions.options import make_offer
from sciencebox.sessions.progress import Progress, Step
from sciencebox.sessions.signal import Signal
from sciencebox.sessions.snapshot import Snapshot
from sciencebox.sessions.stack import Stacks
from sciencebox.sessions.starting import StartRefused
from sciencebox.sessions.waiting import Standing, WaitingRoom

from tests.fakes.little_hub import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sciencebox.gpus.device import Device


class PretendDesk(Leasing):
    """The desk as far as pages and form know it."""

    together_s = 0.0

    def __init__(self, file: Path) -> None:
        self._file = file
        self.state = State()
        super().__init__(settings_file.parse("", "test"))
        self.stacks = Stacks(self.settings)
        self._inventory = Inventory()
        self._broker = Broker()
        self.changed = Signal()
        self.idle = IdleWatch(IdleRule(None, 0.05))
        self.watchers.clear()
        self.watched: dict[str, Any] = {}
        self.engine = Engine()  # for its threads: nobody asks it anything
        self.room = WaitingRoom(self._broker, lambda _: None, time.time, grace_s=60, show_names=True)

    async def open(self) -> None:
        await self.refresh()
        self._following = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        """See what a test shows as soon as it does."""
        seen = None
        while True:
            now = self._file.stat().st_mtime_ns
            if now != seen:
                seen = now
                await self.refresh()
                for see in self.watchers:
                    see(self._inventory.devices, self.state.holdings, time.time())
                self.changed.tell()
            await asyncio.sleep(0.05)

    async def refresh(self, max_age_s: float = 0) -> None:
        self.state = State.from_json(self._file.read_text(encoding="utf-8"))
        self.settings = settings_file.parse(self.state.settings, "test")
        self._inventory = Inventory(self.state.gpus, reason=self.state.reason, driver_version="580.65.06")
        self._broker = Broker()
        self._broker.see_ledger(self.state.holdings, self._broker.look(), time.time())
        self._broker.see_inventory(self._inventory, self._broker.look())

    @property
    def broker(self) -> Broker:
        return self._broker

    @property
    def inventory(self) -> Inventory:
        return self._inventory

    @property
    def ledger(self) -> tuple[Holding, ...]:
        return tuple(self._broker.ledger)

    @property
    def readable(self) -> bool:
        return self._broker.readable

    def see_use(self, user: str, since: float, until: float, gpus: float = 1.0) -> None:
        """Nobody's share is asked for."""

    async def refresh_ledger(self) -> None:
        """It is read with everything else."""

    async def budget(self, user: str, groups: Any) -> Any:
        return budget([], self.state.week_s, time.time()) if self.state.week_s else None

    async def mark(self, mark: Mark) -> None:
        await self._show(marked(Inventory(self.state.gpus), [mark]).devices)

    async def unmark(self, uuid: str, health: Health, by: str) -> None:
        healthy = {
            "health": Health.HEALTHY,
            "health_reason": "",
            "marked": False,
            "drained": False,
            "health_since": None,
        }
        await self._show(tuple(replace(gpu, **healthy) if gpu.uuid == uuid else gpu for gpu in self.state.gpus))

    async def _show(self, gpus: tuple[Device, ...]) -> None:
        self._file.write_text(replace(self.state, gpus=gpus).to_json(), encoding="utf-8")
        await self.refresh()

    def queue(self) -> tuple[Place, ...]:
        return tuple(
            Place(Ticket(f"s-{user}", GpuRequest(user, 1), 1_790_000_000.0 + n), n, 1_790_090_000.0)
            for n, user in enumerate(self.state.line, start=1)
        )

    async def may_extend(self, session: str, user: str, groups: Any) -> float | None:
        return None

    def is_wanted(self, session: str) -> bool:
        return bool(self.state.line)

    def over(self) -> tuple[Holding, ...]:
        return ()

    def holdings(self) -> tuple[Holding, ...]:
        return self.state.holdings

    def offer(self, groups: Any = ()) -> Any:
        state = self.state
        counts = self._broker.availability()
        releases = dict.fromkeys(state.releases, ("pytorch", "tensorflow", "root", "mxnet"))
        offer = make_offer(self.settings, counts, releases, reason=state.reason, stack_fault=state.stack_fault)
        return replace(offer, stack_notes=tuple(state.stack_notes))

    def snapshot(self) -> Any:
        holders, unfit = self._broker.holders(), self._broker.unfit()
        return Snapshot(self._inventory, self.offer(), holders, unfit, "cdi", "The engine knows the cards by CDI.")

    async def remove_strangers(self, known: Any) -> None:
        """There are none."""


class PretendSpawner(GPUDockerSpawner):
    """The form's hooks and progress of the real spawner, without a container."""

    runs = False

    async def start(self) -> tuple[str, int]:
        try:
            return await self._start()
        except asyncio.CancelledError:
            await asyncio.sleep(self.desk.state.lets_go_s)
            raise

    async def _start(self) -> tuple[str, int]:
        self.steps = Progress()
        state = self.desk.state
        for step in Step:
            if step is not Step.GPU or self.options.gpu_count:
                self.steps.at(step)
            if step.value == state.start:
                break
        await asyncio.sleep(1.5)  # longer than the hub waits before it shows the pending page
        if state.failure:
            self.steps.failed(state.failure)
            raise StartRefused(state.failure, reason="unfit")
        if state.start == Step.READY.value:
            self.runs = True
            return "127.0.0.1", self.hub.port  # the hub itself answers for the session
        told = None
        while True:
            if state.standing not in (None, told):
                told = state.standing
                self._stands(Standing(**told))
            await asyncio.sleep(0.1)
            await self.desk.refresh()
            state = self.desk.state

    async def stop(self, now: bool = False) -> None:
        self.runs = False

    async def poll(self) -> int | None:
        return None if self.runs else 0


class NoProxy(Proxy):
    """Routes that nobody follows."""

    routes: Mapping[str, Any] = {}
    should_start = False

    async def add_route(self, routespec: str, target: str, data: Any) -> None:
        self.routes = {**self.routes, routespec: {"routespec": routespec, "target": target, "data": data}}

    async def delete_route(self, routespec: str) -> None:
        self.routes = {spec: route for spec, route in self.routes.items() if spec != routespec}

    async def get_all_routes(self) -> Mapping[str, Any]:
        return self.routes


def main(file: str, port: str, accounts: str) -> None:
    """Run the hub until it is told to stop."""
    bcrypt.gensalt = partial(bcrypt.gensalt, rounds=4)  # the least there is: nobody has to guess these passwords
    desk = PretendDesk(Path(file))
    # As it is deployed, but for what would need an engine or a proxy.
    settings = settings_file.load(Path(file).with_name("sciencebox.yaml"))
    c: Any = config.build_config(settings, config.Place(Path(file).parent))
    if settings.accounts.source == "oidc":
        c.SingleSignOn.oauth_callback_url = f"http://127.0.0.1:{port}/hub/oauth_callback"
    c.JupyterHub.hub_ip, c.JupyterHub.hub_connect_ip, c.JupyterHub.hub_port = "127.0.0.1", "127.0.0.1", int(port)
    c.JupyterHub.tornado_settings["slow_stop_timeout"] = 2  # of JupyterHub's ten
    c.JupyterHub.template_vars["sciencebox_simulated"] = lambda _: desk.settings.gpus.simulate > 0
    c.JupyterHub.proxy_class, c.JupyterHub.spawner_class = NoProxy, PretendSpawner
    if accounts == "dummy":
        c.JupyterHub.authenticator_class = "dummy"
    hub = ScienceBoxHub.instance(config=c)
    hub.desk = desk
    ScienceBoxHub.launch_instance(argv=[])


if __name__ == "__main__":
    main(*sys.argv[1:])
