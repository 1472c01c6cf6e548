"""What an administrator reads of the service that is up."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from sciencebox.host import show
from sciencebox.host.watch import Service
from sciencebox.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICES = {name: Service(name, name, "running", since="2026-11-28T23:30:00.123456789Z") for name in ("hub", "proxy")}
NOT_YET = Service("caddy", "caddy", "created", since="0001-01-01T00:00:00Z")


@pytest.fixture
def an_hour_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server whose clock shows Central European Time."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("an_hour_east")
def test_the_status_has_this_servers_time(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {"sciencebox.user": "ada", "sciencebox.since": "2026-11-28T22:15:00+00:00"}
    sessions = [{"Labels": labels, "State": "running"}, {"Labels": {}, "State": "created"}]
    deployment = SimpleNamespace(settings=Settings(), socket="", address="https://box", sessions=lambda: sessions)
    monkeypatch.setattr(show.engine, "reach", lambda _: None)
    monkeypatch.setattr(show.watch, "read_services", lambda *_: {**SERVICES, "caddy": NOT_YET})
    shown = io.StringIO()
    assert not show.status(deployment, Console(file=shown, width=100))
    told = {line.split()[0]: line.split()[1:] for line in shown.getvalue().splitlines()}
    assert told["hub"] == ["running", "2026-11-29", "00:30:00"]
    assert told["caddy"] == ["created"]
    assert told["firewall"] == ["missing"]
    assert told["ada"] == ["running", "none", "2026-11-28", "23:15:00"]
    assert told["?"] == ["created", "none"]
