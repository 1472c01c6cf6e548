"""GPUs that do nothing, and sessions that go on: a deployed service whose fake driver says what its cards do."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.deployed.conftest import AT_WORK
from tests.fakes.driver.fake import uuid
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.driver.fake import FakeDriver
    from tests.service import Service

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("quick_sessions", "nothing_left")]

ONE = {"gpu": "any", "gpu_count": 1}


@contextmanager
def doing_nothing(driver: FakeDriver, holder: str, holders: dict[str, str]) -> Iterator[None]:
    """The card of a holder has nothing to do."""
    index = next(index for index in (0, 1) if holders[uuid(index)] == holder)
    driver.set({f"gpu{index}.busy": 0})
    try:
        yield
    finally:
        driver.set({f"gpu{index}.busy": AT_WORK})


def test_a_session_whose_gpu_does_nothing_is_warned_and_stopped_and_one_at_work_goes_on(
    service: Service, driver: FakeDriver
) -> None:
    with service.session("nora", **ONE) as nora, service.session("olaf", **ONE) as olaf:
        warned = "idle_seconds_left"  # what the page Session and JupyterLab warn by
        assert nora.ask("GET", "sciencebox/session").json()[warned] is None
        with doing_nothing(driver, "nora", service.holders()):
            wait_until(lambda: nora.ask("GET", "sciencebox/session").json().get(warned) is not None, "nora is warned")
            wait_until(lambda: not nora.session(), "nora's session is stopped")
        assert olaf.is_ready()
        wait_until(lambda: set(service.holders().values()) == {"olaf"}, "nora's card is free")
        assert "Your last session was stopped, because its GPU had computed nothing" in nora.page("spawn")


def test_a_session_is_extended_by_its_user_and_a_killed_hub_does_not_forget(service: Service) -> None:
    service.person("pia")
    service.join("brief", "pia")
    with service.session("pia", **ONE) as pia:
        end = pia.ask("GET", "sciencebox/session").json()
        assert end["more_seconds"] == pytest.approx(3600, abs=1)
        assert pia.ask("POST", "sciencebox/session").json()["seconds_left"] > 3600
        over = time.monotonic() + end["seconds_left"] + 6  # what is over is stopped within five seconds
        again = pia.ask("POST", "sciencebox/session")
        assert (again.status_code, "as much time as it may have" in again.json()["message"]) == (409, True)
        service.kill_hub()
        wait_until(lambda: time.monotonic() > over, "its first end has passed")
        assert pia.is_ready()
        assert pia.ask("GET", "sciencebox/session").json()["seconds_left"] > 3500


def test_nobody_extends_while_others_wait(service: Service) -> None:
    both = ONE | {"gpu_count": 2}
    service.person("pia")
    service.join("brief", "pia")
    with service.session("pia", **both) as pia, service.queued("quentin", **both):
        assert pia.ask("GET", "sciencebox/session").json()["more_seconds"] is None
        refused = pia.ask("POST", "sciencebox/session")
        assert (refused.status_code, "Others wait" in refused.json()["message"]) == (409, True)


def test_nobody_asks_for_the_session_of_somebody_else(service: Service) -> None:
    quentin = service.person("quentin")
    assert quentin.ask("GET", "sciencebox/session").status_code == 404
    stranger = quentin.http.__class__()
    stranger.trust_env = False
    stranger.verify = quentin.http.verify
    with stranger:
        assert stranger.get(f"{quentin.url}/hub/sciencebox/session", timeout=10).status_code == 403
