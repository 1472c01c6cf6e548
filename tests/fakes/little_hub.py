"""The hub with its own pages and form, on a desk and sessions that only pretend. No engine, no driver, no proxy.

`python -m tests.fakes.little_hub STATE PORT` reads what there is from the file STATE whenever it looks, so that a test
changes it while pages are open; `LittleHub` is the test's end of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bcrypt
import requests
from sciencebox import settings as settings_file
from sciencebox.accounting.quota import budget
from sciencebox.files import write_whole
from sciencebox.gpus.broker import Broker, Place
from sciencebox.gpus.device import Device, Health, Inventory, Load, Process
from sciencebox.gpus.marks import Mark, marked
from sciencebox.gpus.pool import GpuRequest, Holding
from sciencebox.gpus.queue import Ticket
from sciencebox.sessions.engine import Engine
from sciencebox.sessions.idle import IdleRule, IdleWatch
from sciencebox.sessions.leasing import Leasing
from sciencebox.sessions.options import make_offer
from sciencebox.sessions.signal import Signal
from sciencebox.sessions.stack import Stacks
from sciencebox.sessions.waiting import WaitingRoom

from tests.ports import free_ports
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GIB = 1024**3
ANSWER_S = 30  # until which a hub has answered, however busy the machine is
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class State:
    """What the server has, and how the start of a session goes."""

    gpus: tuple[Device, ...] = ()
    holdings: tuple[Holding, ...] = ()
    reason: str = ""
    settings: str = ""
    releases: tuple[str, ...] = ("SB_1", "SB_1_cuda")
    stack_fault: str = ""
    stack_notes: tuple[str, ...] = ()
    start: str = "creating"  # the step at which a start waits; after "ready" the session runs
    failure: str = ""  # or how it ends
    lets_go_s: float = 0  # how long it takes to cancel it
    standing: dict[str, Any] | None = None  # where it stands in the queue
    line: tuple[str, ...] = ()  # who waits for a GPU
    week_s: float = 0  # how many GPU-seconds a week each has

    def to_json(self) -> str:
        """As the hub reads it."""
        gpus = [
            {**d.__dict__, "processes": [process.pid for process in d.processes], "load": d.load.__dict__}
            for d in self.gpus
        ]
        return json.dumps({**self.__dict__, "gpus": gpus, "holdings": [h.__dict__ for h in self.holdings]})

    @classmethod
    def from_json(cls, text: str) -> State:
        """What a test wrote."""
        raw = json.loads(text)
        gpus = [
            Device(
                **{
                    **d,
                    "processes": tuple(map(Process, d["processes"])),
                    "health": Health(d["health"]),
                    "load": Load(**d["load"]),
                }
            )
            for d in raw.pop("gpus")
        ]
        holdings = [Holding(**holding) for holding in raw.pop("holdings")]
        return cls(gpus=tuple(gpus), holdings=tuple(holdings), **raw)


def gpu(index: int, model: str = "NVIDIA A100", memory_gib: int = 80, **more: Any) -> Device:
    """A device."""
    pci_id = f"00000000:{0x40 + index:02X}:00.0"
    return Device(f"GPU-{index}", index, model, memory_gib * GIB, pci_id=pci_id, **more)


def held(index: int, user: str) -> Holding:
    """A device in a user's hands."""
    return Holding(f"GPU-{index}", user, f"sciencebox-session-{user}", 1_790_000_000.0 + index)


TWO_FREE = State(gpus=(gpu(0), gpu(1)))


# The test's end


@dataclass
class Person:
    """Somebody who is signed in, with the browser's cookies."""

    url: str
    http: requests.Session

    def get(self, path: str, **options: Any) -> requests.Response:
        """A page below /hub."""
        return self.http.get(f"{self.url}/hub/{path}", timeout=ANSWER_S, **options)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """What a page's own scripts may call below /hub: with the XSRF token."""
        headers = {"X-XSRFToken": self.http.cookies.get("_xsrf", path="/hub/")}
        return self.http.request(method, f"{self.url}/hub/{path}", headers=headers, timeout=ANSWER_S, **options)

    def send_form(self, path: str = "spawn", **fields: Any) -> requests.Response:
        """Press Start: the form's own address, which has the XSRF token, and the fields."""
        action = re.search(r'id="spawn_form"\s+action="([^"]+)"', self.get(path).text)
        assert action, "there is no form"
        url = self.url + action[1].replace("&amp;", "&")
        return self.http.post(url, data=fields, timeout=ANSWER_S, allow_redirects=False)

    def cancel(self) -> requests.Response | None:
        """Whatever is starting."""
        user = self.call("GET", "api/user").json()
        return self.call("DELETE", f"api/users/{user['name']}/server") if user["pending"] else None


@dataclass
class LittleHub:
    """A running hub. What it shows is `show`n by a test."""

    url: str
    file: Path
    trust: Path | None = None
    """The certificates that it trusts beside the system's."""
    people: dict[str, Person] = field(default_factory=dict)

    def show(self, state: State) -> None:
        """From the next look on."""
        new = self.file.with_suffix(".new")
        new.write_text(state.to_json(), encoding="utf-8")
        new.replace(self.file)

    def ask(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        """By somebody who is not signed in; answers are not followed."""
        return requests.request(method, f"{self.url}/hub/{path}", timeout=ANSWER_S, allow_redirects=False, **options)

    def sign_in(self, name: str, password: str = "x") -> Person:
        """A person of this name; each signs in once."""
        if name not in self.people:
            person = Person(self.url, requests.Session())
            person.http.trust_env = False
            person.get("login")
            xsrf = person.http.cookies.get("_xsrf", path="/hub/")
            form = {"username": name, "password": password, "_xsrf": xsrf}
            person.http.post(f"{self.url}/hub/login", data=form, timeout=ANSWER_S, allow_redirects=False)
            self.people[name] = person
        return self.people[name]

    def close(self) -> None:
        """Everybody leaves."""
        for person in self.people.values():
            person.http.close()


@contextmanager
def running(
    folder: Path, accounts: str = "dummy", settings: str = "", trust: Path | None = None, port: int = 0, **secrets: str
) -> Iterator[LittleHub]:
    """A hub as a process of its own. `accounts`: `dummy`, where any password does, or `own`, as the settings say.

    It trusts the certificates of `trust` and has these secrets beside its own.
    """
    (folder / "secrets").mkdir()
    own = {"cookie_secret": "00" * 32, "proxy_token": "token", "service_token": "11" * 32, "metrics_token": "22" * 32}
    for name, content in (own | secrets).items():
        write_whole(folder / "secrets" / name, content)
    (folder / "sciencebox.yaml").write_text(settings, encoding="utf-8")
    port = port or free_ports(1)[0]
    hub = LittleHub(f"http://127.0.0.1:{port}", folder / "state.json", trust)
    hub.show(State())
    command = [sys.executable, "-m", "tests.fakes.little_hub", str(hub.file), str(port), accounts]
    environment = {**os.environ, "PYTHONPATH": ".", **({"SSL_CERT_FILE": str(trust)} if trust else {})}
    with (folder / "hub.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environment)
        try:
            wait_until(lambda: _answers(hub.url, process), "the hub answers")
            yield hub
        finally:
            hub.close()
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the hub ended; see hub.log"
    try:
        return requests.get(f"{url}/hub/api", timeout=5).ok
    except requests.RequestException:
        return False


# The hub's end


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
        from sciencebox.sessions.snapshot import Snapshot

        holders, unfit = self._broker.holders(), self._broker.unfit()
        return Snapshot(self._inventory, self.offer(), holders, unfit, "cdi", "The engine knows the cards by CDI.")

    async def remove_strangers(self, known: Any) -> None:
        """There are none."""


def main(file: str, port: str, accounts: str) -> None:
    """Run the hub until it is told to stop."""
    from jupyterhub.proxy import Proxy
    from sciencebox.hub import config
    from sciencebox.hub.app import ScienceBoxHub
    from sciencebox.sessions.docker import GPUDockerSpawner
    from sciencebox.sessions.progress import Progress, Step
    from sciencebox.sessions.starting import StartRefused
    from sciencebox.sessions.waiting import Standing

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
                return "127.0.0.1", int(port)  # the hub itself answers for the session
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
