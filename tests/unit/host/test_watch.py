"""Waiting for the service: what is waited for, when waiting is useless, and what is told then."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest
from rich.console import Console
from sciencebox.host import watch
from sciencebox.host.compose import Places
from sciencebox.host.steps import Screen, StepError
from sciencebox.host.watch import Service, parse_service, waiting_for
from sciencebox.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

WELL = {name: Service(name, name, "running", "healthy") for name in ("caddy", "proxy", "hub", "firewall")}


class Container:
    """A container with a log."""

    def logs(self, tail: int) -> bytes:
        """The end of its log."""
        assert tail > 0
        return b"Traceback\nModuleNotFoundError: no module\n"


class Client:
    """An engine that knows one container."""

    containers = type("Containers", (), {"get": staticmethod(lambda _id: Container())})


def wait(monkeypatch: pytest.MonkeyPatch, *seen: dict[str, Service], fault: str = "") -> tuple[str, str]:
    """Wait while the engine tells `seen`, one after the other. Returns the outcome and what was shown."""
    states = list(seen)
    monkeypatch.setattr(watch, "read_services", lambda *_: states.pop(0) if len(states) > 1 else states[0])
    monkeypatch.setattr(watch, "answer_fault", lambda *_: fault)
    monkeypatch.setattr(watch, "POLL_S", 0)
    monkeypatch.setattr(watch, "DEADLINE_S", 0.2)
    shown = io.StringIO()
    try:
        outcome = watch.wait_until_ready(Client(), Settings(), "box", Screen(Console(file=shown, width=200)))
    except StepError as error:
        return f"failed: {error}", shown.getvalue()
    return outcome, shown.getvalue()


def test_it_waits_until_all_are_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = WELL | {"hub": Service("hub", "hub", "running", "starting")}
    assert wait(monkeypatch, starting, starting, WELL)[0] == "all healthy, and the address answers"


def test_a_hub_that_keeps_ending_is_told_with_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, shown = wait(monkeypatch, WELL | {"hub": Service("hub", "hub", "restarting", "unhealthy", restarts=4)})
    assert outcome.startswith("failed: hub (unhealthy) does not start.")
    assert "ModuleNotFoundError: no module" in shown


def test_a_hub_that_ended_some_time_ago_and_works_is_waited_with(monkeypatch: pytest.MonkeyPatch) -> None:
    before = WELL | {"hub": Service("hub", "hub", "running", "healthy", restarts=4)}
    starting = before | {"caddy": Service("caddy", "caddy", "running", "starting")}
    assert wait(monkeypatch, starting, before)[0] == "all healthy, and the address answers"


def test_a_missing_service_is_told_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, _ = wait(monkeypatch, {name: service for name, service in WELL.items() if name != "hub"})
    assert outcome.startswith("failed: hub (missing) was not ready within")
    assert outcome.endswith(" s. When the cause is mended, run this again.")


def test_an_address_that_does_not_answer_is_told_with_what_caddy_says(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, shown = wait(monkeypatch, WELL, fault="tlsv1 alert internal error")
    assert outcome.startswith("failed: the address (tlsv1 alert internal error) was not ready")
    assert "Last lines of caddy:" in shown, "why there is no certificate, the hub does not know"
    outcome, shown = wait(monkeypatch, WELL | {"proxy": Service("proxy", "proxy", "running", "starting")})
    assert outcome.startswith("failed: proxy (starting) was not ready")
    assert "Last lines of proxy:" in shown
    assert "The end of the log of proxy is above;" in outcome


def test_neither_the_data_nor_the_name_of_a_deployment_that_is_there_is_taken(tmp_path: Path) -> None:
    first, second = (Places(tmp_path / name, tmp_path) for name in ("first", "second"))
    for places in (first, second):
        places.state.mkdir(parents=True)
    (tmp_path / "link").symlink_to("first")
    first.settings.write_text("name: first\n")
    hub = {"Id": "1", "Labels": {"com.docker.compose.service": "hub"}}
    client = MagicMock()
    client.api.containers.side_effect = lambda filters, **_: [hub] if "first" in str(filters) else []
    environment = {"Env": [f"SCIENCEBOX_STATE={first.state}"]}
    client.api.inspect_container.return_value = {"Id": "1", "State": {"Status": "running"}, "Config": environment}
    assert watch.conflict(client, "first", first) == ""
    assert watch.conflict(client, "first", Places(tmp_path / "link", tmp_path)) == ""
    assert watch.conflict(client, "second", second) == ""
    assert f"{tmp_path}/first is the data of the deployment first" in watch.conflict(client, "second", first)
    assert f"A deployment first is there already, with its data in {tmp_path}/first" in watch.conflict(
        client, "first", second
    )
    client.api.containers.side_effect = lambda **_: []
    assert watch.conflict(client, "second", first) == "", "it was stopped and has another name now"


def test_a_deployment_does_not_begin_anew_where_its_disk_is_not_mounted(tmp_path: Path) -> None:
    box = Places(tmp_path / "box", tmp_path)
    client = MagicMock()
    client.api.containers.return_value = [{"Id": "1"}]
    client.api.inspect_container.return_value = {"Config": {"Env": [f"SCIENCEBOX_STATE={box.state}"]}}
    (box.state / "secrets/proxy_token").mkdir(parents=True)  # the engine makes a folder of what it does not find
    assert "is here, but its data is not in" in watch.lost_data(client, "box", box)
    assert watch.lost_data(client, "box", Places(tmp_path / "other", tmp_path)) == ""
    (box.state / "hub.sqlite").touch()
    assert watch.lost_data(client, "box", box) == ""
    client.api.containers.return_value = []
    assert watch.lost_data(client, "box", Places(tmp_path / "new", tmp_path)) == ""


def test_nobody_at_the_port_is_a_fault() -> None:
    assert "refused" in watch.answer_fault("box", 9)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"Status": "running", "Health": {"Status": "healthy"}}, []),
        ({"Status": "running", "Health": {"Status": "starting"}}, ["hub (starting)"]),
        ({"Status": "running", "Health": {"Status": "none"}}, []),
        ({"Status": "running"}, []),
        ({"Status": "exited", "Health": {"Status": ""}}, ["hub (exited)"]),
    ],
)
def test_what_the_engine_tells_is_understood(state: dict[str, Any], expected: list[str]) -> None:
    service = parse_service("hub", {"Id": "1", "State": state, "RestartCount": 0})
    assert waiting_for(WELL | {"hub": service}) == expected
