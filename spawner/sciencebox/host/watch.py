"""Whether the service's containers run and answer, and waiting until they do."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import yaml

from sciencebox.host.compose import PARTS, SERVICES, services
from sciencebox.host.erase import MARK
from sciencebox.host.ports import PROJECT_LABEL
from sciencebox.host.steps import StepError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sciencebox.host.compose import Places
    from sciencebox.host.steps import Screen
    from sciencebox.settings import Settings

CONFIG_LABEL = "com.docker.compose.config-hash"
SERVICE_LABEL = "com.docker.compose.service"
DEADLINE_S = 180
POLL_S = 0.5
MOST_RESTARTS = 3
LOG_LINES = 15


@dataclass(frozen=True)
class Service:
    """One container of the service."""

    name: str
    id: str
    state: str  # the engine's word, such as `running`
    health: str = ""  # `healthy`, `starting`, `unhealthy`, or nothing where there is no check
    restarts: int = 0
    since: str = ""

    @property
    def well(self) -> bool:
        """Whether it does its work."""
        return self.state == "running" and self.health in {"", "healthy"}

    @property
    def broken(self) -> bool:
        """Whether waiting longer would not help. Restarts are counted for as long as there is the container."""
        ended = self.state in {"exited", "dead"} or self.health == "unhealthy"
        return ended or (self.restarts >= MOST_RESTARTS and not self.well)

    def __str__(self) -> str:
        return f"{self.name} ({self.health or self.state})"


def read_services(client: Any, deployment: str) -> dict[str, Service]:
    """The containers of a deployment, by service."""
    found = {}
    for listed in client.api.containers(all=True, filters={"label": f"{PROJECT_LABEL}={deployment}"}):
        name = listed["Labels"].get(SERVICE_LABEL, "")
        try:
            facts = client.api.inspect_container(listed["Id"])
        except docker.errors.NotFound:  # replaced at this moment
            continue
        if name in {*SERVICES, *PARTS}:
            found[name] = parse_service(name, facts)
    return found


def conflict(client: Any, name: str, places: Places) -> str:
    """Why a deployment must not be brought up, in a sentence: its data or its name is that of one that is there."""
    try:
        there = str(yaml.safe_load(places.settings.read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        there = name
    if there != name and read_services(client, there):
        mend = f"Set another `data_root`, or stop {there} first: `make down` with its settings."
        return f"{places.data_root} is the data of the deployment {there}, which is there. {mend}"
    state = read_state(client, name)
    if state and state.resolve() != places.state.resolve():
        mend = "Set another `name`; or stop it by `make down`, and move its data yourself."
        return f"A deployment {name} is there already, with its data in {state.parent}. {mend}"
    return ""


def lost_data(client: Any, name: str, places: Places) -> str:
    """Why a deployment must not begin anew, in a sentence: its service is here, and its data is not.

    As where the disk was not mounted when the server started: the engine makes the folders that containers are to see.
    """
    state = places.state
    if (state / MARK).exists() or any(state.glob("*.sqlite")) or read_state(client, name) != state:
        return ""
    mend = "Is its disk mounted? Mount it, then run this again; or `make down` first, to begin without it."
    return f"The service {name} is here, but its data is not in {places.data_root}. {mend}"


def read_state(client: Any, deployment: str) -> Path | None:
    """The state that the hub of a deployment works with, if there is a hub."""
    labels = [f"{PROJECT_LABEL}={deployment}", f"{SERVICE_LABEL}=hub"]
    for listed in client.api.containers(all=True, filters={"label": labels}):
        try:
            variables = client.api.inspect_container(listed["Id"])["Config"]["Env"] or ()
        except docker.errors.NotFound:  # replaced at this moment
            continue
        found = dict(variable.partition("=")[::2] for variable in variables)
        if "SCIENCEBOX_STATE" in found:
            return Path(found["SCIENCEBOX_STATE"])
    return None


def outdated(client: Any, deployment: str, hashes: Mapping[str, str]) -> list[str]:
    """Ids of the containers whose configuration is not what Compose would give them now."""
    found = client.api.containers(all=True, filters={"label": f"{PROJECT_LABEL}={deployment}"})
    return [
        listed["Id"]
        for listed in found
        if hashes.get(listed["Labels"].get(SERVICE_LABEL, "")) != listed["Labels"].get(CONFIG_LABEL)
    ]


def parse_service(name: str, facts: Mapping[str, Any]) -> Service:
    """A service from what the engine tells of its container."""
    state = facts["State"]
    health = (state.get("Health") or {}).get("Status", "")
    return Service(
        name=name,
        id=facts["Id"],
        state=state["Status"],
        health="" if health == "none" else health,
        restarts=int(facts.get("RestartCount", 0)),
        since=state.get("StartedAt", ""),
    )


def waiting_for(found: Mapping[str, Service], wanted: Sequence[str] = SERVICES) -> list[str]:
    """What is not there or not well yet, in words."""
    return [str(found.get(name) or f"{name} (missing)") for name in wanted if not _is_well(found.get(name))]


def wait_until_ready(client: Any, settings: Settings, hostname: str, screen: Screen) -> str:
    """Wait until all services are healthy and the address answers. Raises StepError with the end of a log."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = read_services(client, settings.name)
        broken = [service for service in found.values() if service.broken]
        missing = waiting_for(found, services(settings))
        fault = "" if missing else answer_fault(hostname, settings.server.https_port)
        if not missing and not fault:
            return "all healthy, and the address answers"
        if broken or time.monotonic() > deadline:
            # Where all are well and the address does not answer, Caddy says why, as where it gets no certificate.
            not_well = [service for service in found.values() if not service.well]
            suspect = next(iter(broken or not_well), None) if missing else found["caddy"]
            raise StepError(_sentence(missing, fault, bool(broken), suspect), _end_of_log(client, suspect, screen))
        screen.now(f"waiting for {', '.join(missing)}" if missing else f"waiting for the address: {fault}")
        time.sleep(POLL_S)


def answer_fault(hostname: str, port: int) -> str:
    """Why the service does not answer at its port by TLS; nothing when it does. Its certificate is not judged."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=hostname) as secure,
        ):
            secure.sendall(f"GET /hub/health HTTP/1.1\r\nHost: {hostname}\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(secure)
            response.begin()
            return "" if response.status == 200 else f"status {response.status}"
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__


def _is_well(service: Service | None) -> bool:
    return service is not None and service.well


def _sentence(missing: list[str], fault: str, broken: bool, suspect: Service | None) -> str:
    what = ", ".join(missing) if missing else f"the address ({fault})"
    kind = "does not start" if broken else f"was not ready within {DEADLINE_S} s"
    where = f"The end of the log of {suspect.name} is above; when" if suspect else "When"
    return f"{what} {kind}. {where} the cause is mended, run this again."


def _end_of_log(client: Any, service: Service | None, screen: Screen) -> str:
    if service is None:
        return ""
    try:
        text = client.containers.get(service.id).logs(tail=LOG_LINES).decode(errors="replace")
    except docker.errors.DockerException:
        return ""
    screen.say(f"Last lines of {service.name}:")
    for line in text.splitlines():
        screen.say(f"    {line}")
    return str(text)
