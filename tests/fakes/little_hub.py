"""The hub with its own pages and form, on a desk and sessions that only pretend. No engine, no driver, no proxy.

This is the test's end of it. The hub's is `pretend_hub`, which reads what there is from a file whenever it looks, so
that a test changes it while pages are open.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from sciencebox.files import write_whole
from sciencebox.gpus.device import Device, Health, Load, Process
from sciencebox.gpus.pool import Holding

from tests.ports import free_ports
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    command = [sys.executable, "-m", "tests.fakes.pretend_hub", str(hub.file), str(port), accounts]
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
