"""The page of one's own session while it is open, on a hub whose sessions only pretend."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sciencebox.gpus.device import Health

from tests.browser.pages import look, unreadable
from tests.fakes.little_hub import State, gpu, held
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.fakes.little_hub import LittleHub

pytestmark = pytest.mark.browser


def test_it_warns_before_the_end_tells_of_a_failing_gpu_and_notices_the_end(
    hub: LittleHub, window: Callable[..., Page]
):
    def runs_for(seconds: float) -> None:
        lease = replace(held(0, "ada"), since=time.time() - 3600, until=time.time() + seconds)
        hub.show(State(gpus=(card,), holdings=(lease,), start="ready"))

    def goes_on_for(seconds: float) -> None:
        runs_for(seconds)
        wait_until(lambda: ada.call("GET", "sciencebox/session").json()["seconds_left"] <= seconds, "the hub knows")
        look(page)

    card = gpu(0)
    page = window()
    runs_for(7200)
    ada = hub.sign_in("ada")
    ada.send_form(gpu="none")
    page.goto(f"{hub.url}/hub/home")
    page.get_by_text("It is running. It may run until").wait_for()
    assert page.get_by_role("alert").all_inner_texts() == []

    goes_on_for(300)
    page.get_by_role("alert").filter(has_text="Its time is over at").wait_for()
    card = gpu(0, health=Health.QUARANTINED, health_reason="it has fallen off the bus")
    goes_on_for(40)
    page.get_by_role("alert").filter(has_text="Its time is over in less than a minute.").wait_for()
    page.get_by_text("GPU 0 of your session is in quarantine: it has fallen off the bus. Save what you can.").wait_for()
    assert unreadable(page, 1280) == []

    assert ada.call("DELETE", "api/users/ada/server").ok
    look(page)
    page.get_by_role("link", name="Start a session").wait_for()
