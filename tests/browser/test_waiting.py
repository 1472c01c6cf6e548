"""Two people and their browsers: one has the cards, the other one waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Steady, sign_in
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.service import Service

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.usefixtures("nothing_left")]

BOTH = {"gpu": "any", "gpu_count": 2}


class Window:
    """A browser window in which jonas is signed in."""

    def __init__(self, page: Page, service: Service) -> None:
        self.page = page
        self._service = service
        self._steady = Steady(page)

    def ask_for_a_card(self) -> None:
        """Ask while there is none."""
        self.page.goto(f"{self._service.url}/hub/spawn?gpu=any")
        self.page.get_by_role("button", name="Start").click()
        self._steady.shows("Waiting for a GPU", f"{self._service.url}/hub/spawn-pending/jonas")

    def comes_to_jupyterlab(self) -> None:
        """The page leads on by itself."""
        self._steady.shows("Welcome to ScienceBox", f"{self._service.url}/user/jonas/lab")


@pytest.fixture
def window(browser: Browser, service: Service) -> Iterator[Window]:
    """Jonas's window."""
    service.person("jonas")
    context = browser.new_context(viewport={"width": 1280, "height": 900}, ignore_https_errors=True, locale="en-GB")
    window = Window(context.new_page(), service)
    window.page.goto(service.url)
    sign_in(window.page, "jonas")
    yield window
    context.close()


def test_who_waits_comes_to_jupyterlab_when_the_card_is_free(window: Window, service: Service, picture: Any) -> None:
    with service.session("maria", **BOTH) as maria:
        window.ask_for_a_card()
        place = window.page.get_by_role("region", name="Your place in the queue")
        place.get_by_text("You are next").wait_for()
        place.get_by_text("The GPUs are in use by maria.").wait_for()
        picture(window.page, "waiting")

        window.page.reload()
        place.get_by_text("You are next").wait_for()

        maria.stop()
        window.comes_to_jupyterlab()
        assert set(service.holders().values()) == {"jonas"}


def test_the_page_outlives_a_killed_hub_and_keeps_the_place(window: Window, service: Service) -> None:
    with service.session("maria", **BOTH) as maria:
        window.ask_for_a_card()
        service.kill_hub()
        window.page.get_by_text("You are next").first.wait_for(timeout=60_000)
        wait_until(maria.is_ready, "the session with the cards is known to the hub again")
        maria.stop()
        window.comes_to_jupyterlab()


def test_who_waits_starts_without_a_gpu_instead(window: Window, service: Service) -> None:
    with service.session("maria", **BOTH):
        window.ask_for_a_card()
        with window.page.expect_request(lambda request: request.method == "POST" and "/server" in request.url):
            window.page.get_by_role("button", name="Start now without a GPU").click()
        window.comes_to_jupyterlab()
        assert service.waiting() == []
        assert "sciencebox.gpus" not in service.container("jonas").labels
