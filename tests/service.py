"""A deployed service as its people meet it: over HTTPS, with a name and a password, nothing else."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import docker
import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

READY_S = 60
NEW_PASSWORD = "a-long-password-of-ours"


@dataclass
class Person:
    """Somebody who is signed in."""

    url: str
    name: str
    http: requests.Session
    landed: str = ""  # where the sign-in led

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """A request below /hub, with the page's XSRF token as the browser sends it."""
        headers = {"X-XSRFToken": self.http.cookies.get("_xsrf", path="/hub/", default="")}
        return self.http.request(method, f"{self.url}/hub/{path}", headers=headers, timeout=30, **options)

    def reach(self, path: str) -> requests.Response:
        """A request to this person's own server, through the proxy."""
        return self.http.get(f"{self.url}/user/{self.name}/{path}", timeout=30)

    def end(self) -> dict[str, Any]:
        """What the session says of its own end, as JupyterLab asks it."""
        self.reach("lab").raise_for_status()  # signs in to the session
        answer = self.reach("sciencebox/end")
        assert answer.ok, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def page(self, path: str) -> str:
        """The HTML of a page of the hub."""
        answer = self.ask("GET", path)
        assert answer.ok, f"{path}: {answer.status_code}"
        return answer.text

    def send_form(self, **choices: str) -> requests.Response:
        """Press Start in the spawn form."""
        self.page("spawn")
        return self.ask("POST", "spawn", data={**choices, "_xsrf": self.http.cookies.get("_xsrf", path="/hub/")})

    def start(self, **options: Any) -> requests.Response:
        """Start a session by the REST API, with the form's fields as `user_options`."""
        # Without any field JupyterHub takes those of the last session.
        return self.ask("POST", f"api/users/{self.name}/server", json=options or {"gpu": "none"})

    def stop(self) -> None:
        """Stop the session and wait until the hub says that it is gone."""
        answer = self.ask("DELETE", f"api/users/{self.name}/server")
        assert answer.status_code in {202, 204, 404, 400}, answer.text
        wait_until(lambda: not self.session(), f"the session of {self.name} is gone")

    def session(self) -> dict[str, Any]:
        """What the hub says of this person's session; empty when there is none."""
        answer = self.ask("GET", f"api/users/{self.name}")
        assert answer.ok, answer.text
        found: dict[str, Any] = answer.json()["servers"].get("", {})
        return found

    def is_ready(self) -> bool:
        """Whether the session runs."""
        return bool(self.session().get("ready"))

    @contextmanager
    def follow(self) -> Iterator[Iterator[dict[str, Any]]]:
        """The events of the start that is under way, as an open page gets them."""
        with self.ask("GET", f"api/users/{self.name}/server/progress", stream=True) as answer:
            lines = answer.iter_lines(chunk_size=1, decode_unicode=True)
            yield (json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:"))

    def progress(self) -> list[dict[str, Any]]:
        """Every event of the start that is under way, to its end."""
        with self.follow() as events:
            return list(events)

    def place(self) -> dict[str, Any]:
        """What the waiting page shows of the queue; empty when this person does not wait."""
        with self.follow() as events:
            return next((event["queue"] for event in events if "queue" in event), {})


@dataclass
class Service:
    """A deployment under test. `said` is what its deployment printed."""

    name: str
    url: str
    settings: Path
    data_root: Path
    engine_url: str
    said: str
    administrator: str = "admin"
    people: dict[str, Person] = field(default_factory=dict)

    @cached_property
    def engine(self) -> docker.DockerClient:
        """The engine that it runs on."""
        return docker.DockerClient(base_url=self.engine_url, version="auto", timeout=60)

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.close()
        for person in self.people.values():
            person.http.close()

    @property
    def state(self) -> Path:
        """What the deployment remembers."""
        return self.data_root / "state"

    @property
    def authority(self) -> Path:
        """Certificate of the authority that Caddy made for this server."""
        return self.state / "caddy/caddy/pki/authorities/local/root.crt"

    def sign_in(self, name: str, password: str) -> Person:
        """Sign in as a person does."""
        http = self._http()
        person = Person(self.url, name, http)
        http.get(f"{self.url}/hub/login", timeout=30).raise_for_status()
        answer = person.ask("POST", "login", data={"username": name, "password": password, "_xsrf": _xsrf(http)})
        assert answer.ok, f"{answer.status_code}: {answer.text}"
        person.landed = answer.url
        return person

    def _http(self) -> requests.Session:
        """A browser that has not been here before, and that trusts this server's authority."""
        http = requests.Session()
        http.verify, http.trust_env = str(self.authority), False
        return http

    def admin(self) -> Person:
        """The administrator, who changes the one-time password at the first sign-in."""
        if "admin" not in self.people:
            file = self.state / "secrets/first_password"
            if file.exists():
                first = file.read_text().strip()
                person = self.sign_in(self.administrator, first)
                change = dict.fromkeys(("new_password", "new_password_confirmation"), NEW_PASSWORD)
                person.ask(
                    "POST", "change-password", data={**change, "old_password": first, "_xsrf": _xsrf(person.http)}
                ).raise_for_status()
            self.people["admin"] = self.sign_in(self.administrator, NEW_PASSWORD)
        return self.people["admin"]

    def sign_up(self, name: str, password: str = NEW_PASSWORD) -> str:
        """Ask for an account; what the page says then."""
        stranger = Person(self.url, name, self._http())
        stranger.page("signup")
        form = {"username": name, "signup_password": password, "signup_password_confirmation": password}
        answer = stranger.ask("POST", "signup", data={**form, "_xsrf": _xsrf(stranger.http)})
        answer.raise_for_status()
        stranger.http.close()
        return answer.text

    def person(self, name: str) -> Person:
        """Somebody who signed up and was approved by the administrator."""
        if name not in self.people:
            self.sign_up(name)
            self.admin().ask("POST", f"authorize/{name}").raise_for_status()
            self.people[name] = self.sign_in(name, NEW_PASSWORD)
        return self.people[name]

    def join(self, group: str, name: str) -> None:
        """Put somebody into a group, as the administrator."""
        self.admin().ask("POST", f"api/groups/{group}")
        self.admin().ask("POST", f"api/groups/{group}/users", json={"users": [name]}).raise_for_status()

    def container(self, name: str) -> Any:
        """A person's session container, or None."""
        try:
            return self.engine.containers.get(f"{self.name}-session-{name}")
        except docker.errors.NotFound:
            return None

    def holders(self) -> dict[str, str]:
        """Who holds which GPU, by the labels of the containers: UUID to user."""
        found = self.engine.containers.list(all=True, ignore_removed=True, filters={"label": "sciencebox.gpus"})
        return {
            uuid: container.labels["sciencebox.user"]
            for container in found
            for uuid in container.labels["sciencebox.gpus"].split(",")
        }

    def waiting(self) -> list[str]:
        """Who waits for a GPU, in order of arrival, as it is kept for a restart."""
        file = self.state / "queue.json"
        tickets = json.loads(file.read_text()) if file.exists() else []
        return [ticket["user"] for ticket in sorted(tickets, key=lambda ticket: ticket["arrived"])]

    @contextmanager
    def queued(self, *names: str, **options: Any) -> Iterator[list[Person]]:
        """People who wait for GPUs, in this order; they leave afterwards."""
        people = [self.person(name) for name in names]
        try:
            for person in people:
                assert person.start(**options).ok
                wait_until(lambda name=person.name: name in self.waiting(), f"{person.name} waits")
            yield people
        finally:
            for person in people:
                person.stop()

    @property
    def hub(self) -> Any:
        """The hub's container."""
        labels = [f"com.docker.compose.project={self.name}", "com.docker.compose.service=hub"]
        return self.engine.containers.list(all=True, ignore_removed=True, filters={"label": labels})[0]

    def kill_hub(self) -> None:
        """End the hub at once, as a crash would, and wait until its engine has restarted it and it answers."""
        hub = self.hub
        os.kill(hub.attrs["State"]["Pid"], signal.SIGKILL)
        before = hub.attrs["State"]["StartedAt"]
        wait_until(lambda: self.hub.attrs["State"]["StartedAt"] != before, "the hub is started again")
        wait_until(self.answers, "the hub answers again")

    def answers(self) -> bool:
        """Whether the hub answers; before Caddy does, its port closes every connection."""
        try:
            return self.admin().ask("GET", "api/").ok
        except requests.ConnectionError:
            return False

    def run(self, name: str, command: list[str]) -> tuple[int, str]:
        """Run a command in a person's session: status and output."""
        done = self.container(name).exec_run(command)
        return done.exit_code, done.output.decode()

    @contextmanager
    def session(self, name: str, **options: Any) -> Iterator[Person]:
        """A ready session of a person, stopped afterwards."""
        person = self.person(name)
        answer = person.start(**options)
        assert answer.status_code in {201, 202}, answer.text
        try:
            wait_until(person.is_ready, f"the session of {name} is ready")
            yield person
        finally:
            person.stop()


def wait_until(condition: Callable[[], Any], what: str, seconds: float = READY_S) -> None:
    """Return when the condition holds; fail with its words when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s it is not so that {what}"
        time.sleep(0.1)


def _xsrf(http: requests.Session) -> str:
    return http.cookies.get("_xsrf", path="/hub/", default="") or ""
