"""Two people and their browsers: one has the cards, the other one waits for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import sign_in
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Request

    from tests.service import Service

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.usefixtures("nothing_left")]

BOTH = {"gpu": "any", "gpu_count": 2}


@dataclass
class Window:
    """A browser window in which jonas is signed in."""

    page: Page
    service: Service
    lost: bool = False

    def heard(self, request: Request) -> None:
        """Chromium drops what it is loading when the machine gets a network interface; here each container is one."""
        if request.resource_type in {"script", "fetch"} and "ERR_NETWORK_CHANGED" in (request.failure or ""):
            self.lost = True

    def ask_for_a_card(self) -> None:
        """Ask while there is none."""
        self.page.goto(f"{self.service.url}/hub/spawn?gpu=any")
        self.page.get_by_role("button", name="Start").click()
        self._shows("Waiting for a GPU", f"{self.service.url}/hub/spawn-pending/jonas")

    def comes_to_jupyterlab(self) -> None:
        """The page leads on by itself."""
        self._shows("Welcome to ScienceBox", f"{self.service.url}/user/jonas/lab")

    def _shows(self, heading: str, url: str) -> None:
        title = self.page.get_by_role("heading", name=heading)

        def is_shown() -> bool:
            if self.lost or self.page.url.startswith("chrome-error:"):
                self.lost = False
                self.page.goto(url)
            self.page.wait_for_timeout(100)  # in which the browser's events arrive
            return title.is_visible()

        wait_until(is_shown, f"the page shows {heading!r}")


@pytest.fixture
def window(browser: Browser, service: Service) -> Iterator[Window]:
    """Jonas's window."""
    service.person("jonas")
    context = browser.new_context(viewport={"width": 1280, "height": 900}, ignore_https_errors=True, locale="en-GB")
    window = Window(context.new_page(), service)
    window.page.on("requestfailed", window.heard)
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
        window.page.get_by_role("button", name="Start now without a GPU").click()
        window.comes_to_jupyterlab()
        assert service.waiting() == []
        assert "sciencebox.gpus" not in service.container("jonas").labels
