"""Finding the engine and Compose, and starting the engine where it is installed and does not run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from sciencebox.host import apt, engine
from sciencebox.host.deploy import Deployment
from sciencebox.host.engine import Compose, EngineState, choose_socket, explain, numbers
from sciencebox.host.steps import Screen, StepError
from sciencebox.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

SOCKET = engine.USUAL_SOCKET
RUNS = EngineState(SOCKET, installed=True, version="28.5.2")
SLEEPS = EngineState(SOCKET, installed=True, fault=f"nobody listens at {SOCKET}")
ABSENT = EngineState(SOCKET, installed=False, fault=f"{SOCKET} is not there")


class Server:
    """A server whose engine is in a given state; records what was done to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *states: EngineState) -> None:
        self.states = list(states)
        self.installed: list[str] = []
        self.started: list[str] = []
        monkeypatch.setattr(engine, "look", lambda _socket: self.now())
        monkeypatch.setattr(apt, "install", lambda packages, _screen: self.installed.extend(packages))
        monkeypatch.setattr(engine, "starters", lambda: [("service", lambda: self.started.append("service"))])
        monkeypatch.setattr(engine, "START_S", 0.5)

    def now(self) -> EngineState:
        """The state, and after the last look still the same."""
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


@pytest.fixture
def screen() -> Screen:
    """A screen that nobody looks at."""
    return Screen(Console(file=io.StringIO()))


def test_a_running_engine_is_used_untouched(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    server = Server(monkeypatch, RUNS)
    assert engine.provide_engine(SOCKET, screen) == RUNS
    assert (server.installed, server.started) == ([], [])


def test_a_stopped_engine_is_started(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    server = Server(monkeypatch, SLEEPS, SLEEPS, RUNS)
    assert engine.provide_engine(SOCKET, screen).answers
    assert (server.installed, server.started) == ([], ["service"])


def test_a_missing_engine_is_installed_and_started(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    server = Server(monkeypatch, ABSENT, SLEEPS, SLEEPS, RUNS)
    assert engine.provide_engine(SOCKET, screen).answers
    assert (server.installed, server.started) == (["docker.io"], ["service"])


def test_without_an_engine_nothing_has_to_be_stopped_and_one_that_rests_has_to_be_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, screen: Screen
) -> None:
    box = Deployment(Settings(data_root=tmp_path / "box"), tmp_path, {})
    Server(monkeypatch, ABSENT)
    assert box.take_down(screen) == "nothing runs here, for there is no container engine"
    elsewhere = Deployment(box.settings, tmp_path, {"DOCKER_HOST": "unix:///run/other.sock"})
    for one, state in ((elsewhere, ABSENT), (box, SLEEPS)):
        Server(monkeypatch, state)
        with pytest.raises(StepError, match=r"does not answer: .* Start it \(`systemctl start docker`\), then run"):
            one.take_down(screen)


def test_an_engine_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    Server(monkeypatch, SLEEPS)
    with pytest.raises(StepError, match=r"does not start: nobody listens .* See `journalctl -u docker`"):
        engine.provide_engine(SOCKET, screen)


def test_another_engine_is_not_started_for_its_administrator(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    server = Server(monkeypatch, SLEEPS)
    with pytest.raises(StepError, match=r"of `engine\.socket` does not answer"):
        engine.provide_engine(Path("/run/other.sock"), screen)
    assert server.started == []


def test_without_permission_nothing_is_installed(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    server = Server(monkeypatch, EngineState(SOCKET, installed=True, fault=f"no permission to use {SOCKET}"))
    with pytest.raises(StepError, match="run this as root"):
        engine.provide_engine(SOCKET, screen)
    assert server.installed == []


def test_an_old_engine_is_told(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    Server(monkeypatch, EngineState(SOCKET, installed=True, version="19.03.15"))
    with pytest.raises(StepError, match=r"cannot be used: it is Docker 19\.03\.15\. Upgrade to Docker 20\.10"):
        engine.provide_engine(SOCKET, screen)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"docker compose": "2.40.3"}, Compose(("docker", "compose"), "2.40.3")),
        ({"docker compose": "v2.6.0", "docker-compose": "1.29.2"}, Compose(("docker", "compose"), "2.6.0")),
        ({"docker-compose": "1.29.2"}, Compose(("docker-compose",), "1.29.2")),
        ({"docker-compose": "1.25.0"}, None),
        (
            {"/usr/libexec/docker/cli-plugins/docker-compose": "2.26.1"},
            Compose(("/usr/libexec/docker/cli-plugins/docker-compose",), "2.26.1"),
        ),
        ({}, None),
    ],
)
def test_compose_is_found(monkeypatch: pytest.MonkeyPatch, told: dict[str, str], expected: Compose | None) -> None:
    def ask(command: Sequence[str]) -> str | None:
        assert command[-2:] == ["version", "--short"]
        return told.get(" ".join(command[:-2]))

    monkeypatch.setattr(engine, "ask", ask)
    assert engine.find_compose() == expected


def test_the_settings_name_the_engine_before_the_environment() -> None:
    assert choose_socket(SOCKET, None) == SOCKET
    assert choose_socket(SOCKET, "unix:///run/user.sock") == Path("/run/user.sock")
    assert choose_socket(Path("/run/of-settings.sock"), "unix:///run/user.sock") == Path("/run/of-settings.sock")
    with pytest.raises(StepError, match="an engine on another server"):
        choose_socket(SOCKET, "tcp://elsewhere:2375")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("('Connection aborted.', PermissionError(13, 'Permission denied'))", "no permission to use /s"),
        ("('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))", "/s is not there"),
        ("('Connection aborted.', ConnectionRefusedError(111, 'Connection refused'))", "nobody listens at /s"),
        ("Read timed out. (read timeout=15)", "no answer at /s within 15 s"),
        ("something new", "something new"),
    ],
)
def test_why_an_engine_does_not_answer(error: str, expected: str) -> None:
    assert explain(error, Path("/s")) == expected


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    state = engine.look(tmp_path / "docker.sock")
    assert not state.answers
    assert state.fault == f"{tmp_path}/docker.sock is not there"


@pytest.mark.parametrize(
    ("version", "expected"), [("28.5.2", (28, 5)), ("20.10.24+dfsg1", (20, 10)), ("v2.40", (2, 40)), ("dev", (0, 0))]
)
def test_versions(version: str, expected: tuple[int, int]) -> None:
    assert numbers(version) == expected


def test_a_package_is_chosen_by_what_the_sources_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    policies = {
        "docker-compose-plugin": "docker-compose-plugin:\n  Installed: (none)\n  Candidate: (none)\n",
        "docker-compose": "docker-compose:\n  Installed: (none)\n  Candidate: 1.29.2-3\n",
    }
    monkeypatch.setattr(apt, "ask", lambda command: policies.get(command[-1]))
    assert apt.first_available(engine.COMPOSE_PACKAGES) == "docker-compose"
