"""The page of one's own session: how long it may run, and letting it run longer; on the deployed service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Steady, sign_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.service import Service

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.usefixtures("nothing_left")]


def test_a_session_is_let_run_longer(browser: Browser, service: Service) -> None:
    service.person("rosa")
    service.join("brief", "rosa")
    context = browser.new_context(ignore_https_errors=True, locale="en-GB")
    page = context.new_page()
    page.goto(service.url)
    sign_in(page, "rosa")
    steady = Steady(page)
    with service.session("rosa", gpu="any", gpu_count=1) as rosa:
        ends = rosa.ask("GET", "sciencebox/session").json()["seconds_left"]
        steady.visit(f"{service.url}/hub/home", "Your session")
        longer = page.get_by_role("button", name="Let it run 60 minutes longer")
        longer.click()
        longer.wait_for(state="detached")  # the page is loaded again
        steady.shows("Your session", f"{service.url}/hub/home")
        page.get_by_text("It may run until").wait_for()
        assert rosa.ask("GET", "sciencebox/session").json()["seconds_left"] > ends + 3000
        assert not longer.is_visible()
    context.close()
