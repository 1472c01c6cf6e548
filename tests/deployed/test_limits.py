"""How long a GPU may be kept: a deployed service with a group whose sessions are short."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.deployed.conftest import make
from tests.service import wait_until

if TYPE_CHECKING:
    from tests.service import Service

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("quick_sessions", "nothing_left")]

PROMETHEUS = "http://127.0.0.1:10081"
DASHBOARD = Path(__file__).parents[2] / "deploy/monitoring/grafana.json"
BOTH = {"gpu": "any", "gpu_count": 2}


def test_a_session_whose_time_is_over_is_stopped_and_its_user_is_told(service: Service) -> None:
    tilda = service.person("tilda")
    service.join("brief", "tilda")
    assert "at the latest" in tilda.page("spawn")
    with service.session("tilda", **BOTH):
        assert "It may run" in tilda.page("home")
        with service.queued("jonas", **BOTH) as (jonas,):
            wait_until(jonas.is_ready, "the next one has the cards")
            assert set(service.holders().values()) == {"jonas"}
        assert "Your last session was stopped after less than a minute, its time limit." in tilda.page("spawn")
        assert not tilda.session()


def test_a_hub_that_was_killed_still_knows_when_time_is_over(service: Service) -> None:
    service.person("tilda")
    service.join("brief", "tilda")
    with service.session("tilda", **BOTH) as tilda:
        service.kill_hub()
        wait_until(lambda: not tilda.session(), "the session is stopped")
        wait_until(lambda: not service.holders(), "the cards are free")


def test_who_used_what_is_reported_also_after_a_hub_was_killed(service: Service) -> None:
    def sessions() -> int:
        uses = json.loads(make("usage", service.settings, "--json").stdout)
        return sum(use["sessions"] for use in uses if use["name"] == "maria")

    before = sessions()
    with service.session("maria", **BOTH):
        wait_until(lambda: sessions() == before + 1, "the session is in the report")
        service.kill_hub()
    assert sessions() == before + 1
    assert "Fake A100" in make("usage", service.settings, "--by", "device").stdout


def test_who_has_used_up_the_hours_of_the_week_gets_no_gpu(service: Service) -> None:
    uma = service.person("uma")
    service.join("thrifty", "uma")
    assert "You have used 0.0 of your 0.034 GPU hours of the last 7 days." in uma.page("spawn")
    with service.session("uma", **BOTH):
        labels = service.container("uma").labels
        since, until = (datetime.fromisoformat(labels[f"sciencebox.{end}"]) for end in ("since", "until"))
        assert (until - since).total_seconds() == pytest.approx(0.034 * 3600 / 2, abs=2)
        # Then less is left than a session is worth starting for.
        wait_until(lambda: datetime.now(timezone.utc) > since + timedelta(seconds=3), "three seconds are used")
    answer = uma.start(**BOTH)
    assert answer.status_code == 503
    assert "You have used up your 0.034 GPU hours of the last 7 days. The first of them come back" in answer.text
    with service.session("uma"):
        assert not service.holders()


def test_prometheus_is_told_who_has_and_who_waits(service: Service) -> None:
    with service.session("maria", **BOTH), service.queued("jonas", **BOTH):
        told = service.admin().page("metrics")
        assert 'sciencebox_gpus{model="Fake A100 80GB",state="held"} 2.0' in told
        assert "sciencebox_gpu_queue_length 1.0" in told
    assert service.person("jonas").ask("GET", "metrics").status_code == 403


def test_the_service_s_own_prometheus_keeps_it_and_answers_the_dashboard(service: Service) -> None:
    def ask(query: str) -> list[dict[str, Any]]:
        answer = requests.get(f"{PROMETHEUS}/api/v1/query", params={"query": query}, timeout=10)
        assert answer.ok, f"{query}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    wait_until(lambda: bool(ask("sciencebox_gpus")), "Prometheus has asked the hub")
    assert sum(float(one["value"][1]) for one in ask("sum(sciencebox_gpus)")) == 2
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            ask(target["expr"].replace("$__rate_interval", "5m").replace("$__range", "1h"))
    token = (service.state / "secrets/metrics_token").read_text().strip()
    for page, status in (("metrics", 200), ("api/users", 403)):  # its token reads the figures and nothing else
        headers = {"Authorization": f"token {token}"}
        answer = requests.get(f"{service.url}/hub/{page}", headers=headers, verify=service.authority, timeout=10)
        assert answer.status_code == status


def test_a_session_without_a_gpu_has_no_end(service: Service) -> None:
    service.join("brief", service.person("tilda").name)
    with service.session("tilda") as tilda:
        assert "It may run" not in tilda.page("home")
