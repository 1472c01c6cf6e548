"""The container engine and Compose of the host: found, and where missing installed. What is there is left as it is."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket as sockets
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import requests

from sciencebox.host import apt
from sciencebox.host.command import ask
from sciencebox.host.steps import StepError
from sciencebox.sessions.engine import remove

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sciencebox.host.steps import Screen

USUAL_SOCKET = Path("/var/run/docker.sock")
OLDEST_ENGINE = (20, 10)
OLDEST_COMPOSE = (1, 29)
START_S = 60
CALL_S = 60
DAEMON_LOG = Path("/var/log/dockerd.log")
COMPOSE_PLUGINS = tuple(
    f"{folder}/docker-compose"
    for folder in (
        "/usr/local/lib/docker/cli-plugins",
        "/usr/libexec/docker/cli-plugins",
        "/usr/lib/docker/cli-plugins",
    )
)
COMPOSE_PACKAGES = ("docker-compose-plugin", "docker-compose-v2", "docker-compose")
_NUMBERS = re.compile(r"(\d+)\.(\d+)(?:\.\d+)?")


@dataclass(frozen=True)
class EngineState:
    """The engine as it was found. `fault` says why it does not answer."""

    socket: Path
    installed: bool
    version: str = ""
    fault: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answers(self) -> bool:
        """Whether it can be used."""
        return bool(self.version)

    @property
    def unfit(self) -> tuple[str, str] | None:
        """What keeps the service from running on it, and what to do; None where nothing is known to."""
        if any(part.get("Name") == "Podman Engine" for part in self.versions.get("Components") or ()):
            return f"Podman {self.version} at {self.socket}", "Install Docker, or name its socket in `engine.socket`."
        if self.answers and numbers(self.version) < OLDEST_ENGINE:
            return f"Docker {self.version}", "Upgrade to Docker 20.10 or newer."
        if "rootless" in self.security:  # the hub gives homes to their users
            found = f"a rootless one at {self.socket}, which cannot give files to users"
            return found, "Unset DOCKER_HOST, or name the socket of root's in `engine.socket`."
        if "userns" in self.security:  # root in a container is then nobody who may read the state
            return "one that gives files to other users (`userns-remap`)", "Take that out of its `daemon.json`."
        return None

    @property
    def security(self) -> set[str]:
        """By what it confines containers, as it names that."""
        return {option.partition("name=")[2].partition(",")[0] for option in self.info.get("SecurityOptions") or ()}


@dataclass(frozen=True)
class Compose:
    """How Compose is called here, and its version."""

    command: tuple[str, ...]
    version: str


def choose_socket(in_settings: Path, docker_host: str | None) -> Path:
    """The engine's socket: what the settings say, else DOCKER_HOST, else the usual one.

    Raises StepError for an engine elsewhere: the service manages the engine of its own server.
    """
    if in_settings != USUAL_SOCKET or not docker_host:
        return in_settings
    if not docker_host.startswith("unix://"):
        raise StepError(
            f"DOCKER_HOST is {docker_host}, an engine on another server; unset it and deploy on that server."
        )
    return Path(docker_host.removeprefix("unix://"))


def connect(socket: Path, timeout_s: int = CALL_S) -> Any:
    """A client of the engine."""
    return docker.DockerClient(base_url=f"unix://{socket}", version="auto", timeout=timeout_s)


def reach(socket: Path) -> Any:
    """A client of an engine that answers. Raises StepError where it does not."""
    state = look(socket)
    if not state.answers:
        advice = "Start it (`systemctl start docker`), then run this again; `make doctor` says more."
        raise StepError(f"The container engine does not answer: {state.fault}. {advice}")
    return connect(socket)


def is_absent(socket: Path) -> bool:
    """Whether there certainly is no engine: none is installed, and no other one is meant."""
    return socket == USUAL_SOCKET and not look(socket).installed


def end(client: Any, container: str) -> None:
    """Let a service end in its own time, and remove it, unless somebody else does."""
    with contextlib.suppress(docker.errors.NotFound):
        client.api.stop(container)
    remove(client.api, container)


def look(socket: Path) -> EngineState:
    """Ask the engine what it is."""
    installed = shutil.which("dockerd") is not None or socket.exists()
    if fault := _fault(socket):
        return EngineState(socket, installed, fault=fault)
    try:
        client = connect(socket, timeout_s=15)
        try:
            info, versions = client.info(), client.version()
        finally:
            client.close()
    except (docker.errors.DockerException, requests.RequestException) as error:
        return EngineState(socket, installed, fault=explain(str(error), socket))
    return EngineState(socket, installed, version=str(versions["Version"]), info=info, versions=versions)


def _fault(socket: Path) -> str:
    """Why nobody answers at a socket; nothing when somebody does."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.settimeout(15)
        try:
            probe.connect(str(socket))
        except OSError as error:
            return explain(str(error), socket)
    return ""


def explain(error: str, socket: Path) -> str:
    """Why an engine does not answer, in words."""
    if "Permission denied" in error:
        return f"no permission to use {socket}"
    if "No such file" in error:
        return f"{socket} is not there"
    if "Connection refused" in error:
        return f"nobody listens at {socket}"
    if "timed out" in error:
        return f"no answer at {socket} within 15 s"
    return error


def find_compose() -> Compose | None:
    """Compose as the docker command's plugin, as a program, or the plugin's file itself, whichever is new enough."""
    for command in (("docker", "compose"), ("docker-compose",), *((path,) for path in COMPOSE_PLUGINS)):
        told = ask([*command, "version", "--short"])
        if told and (found := _NUMBERS.search(told)) and numbers(told) >= OLDEST_COMPOSE:
            return Compose(command, found[0])
    return None


def numbers(version: str) -> tuple[int, int]:
    """The first two numbers of a version; zeros where there are none."""
    found = _NUMBERS.search(version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def provide_engine(socket: Path, screen: Screen) -> EngineState:
    """The engine, installed and started where it is not. Raises StepError when it cannot be had."""
    state = look(socket)
    if not state.answers and "permission" in state.fault:
        raise StepError(f"The container engine cannot be used: {state.fault}; run this as root.")
    if not state.answers and socket != USUAL_SOCKET:
        raise StepError(
            f"The container engine of `engine.socket` does not answer: {state.fault}. Start it, or correct the setting."
        )
    if not state.installed:
        apt.install(["docker.io"], screen)
        state = look(socket)
    if not state.answers:
        state = start(socket, screen)
    if state.unfit:
        raise StepError("The container engine cannot be used: it is {}. {}".format(*state.unfit))
    return state


def provide_compose(screen: Screen) -> Compose:
    """Compose, installed where it is not."""
    found = find_compose()
    if found:
        return found
    apt.install([apt.first_available(COMPOSE_PACKAGES) or "docker-compose"], screen)
    found = find_compose()
    if not found:
        raise StepError("Docker Compose 1.29 or newer is needed and was not found; install it, then run this again.")
    return found


def start(socket: Path, screen: Screen) -> EngineState:
    """Start the engine by whatever this system has for that: systemd, service scripts, or the program itself."""
    state = look(socket)
    for how, attempt in starters():
        screen.now(f"starting the container engine ({how})")
        attempt()
        deadline = time.monotonic() + (START_S if how == "dockerd" else START_S / 3)
        while time.monotonic() < deadline:
            state = look(socket)
            if state.answers:
                return state
            time.sleep(1)
    raise StepError(
        f"The container engine does not start: {state.fault}. See `journalctl -u docker` or {DAEMON_LOG}, "
        "then run this again."
    )


def starters() -> list[tuple[str, Callable[[], object]]]:
    """Ways to start the engine on this system, the usual one first."""
    if Path("/run/systemd/system").is_dir():
        return [("systemctl", lambda: ask(["systemctl", "enable", "--now", "docker"], timeout_s=90))]
    ways: list[tuple[str, Callable[[], object]]] = []
    if shutil.which("service") and Path("/etc/init.d/docker").exists():
        ways.append(("service", lambda: ask(["service", "docker", "start"], timeout_s=60)))
    return [*ways, ("dockerd", _start_daemon)]


def _start_daemon() -> None:
    with DAEMON_LOG.open("ab") as log:
        subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
