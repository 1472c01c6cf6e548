"""Chromium, and the services that it visits: the deployed one, and a hub whose cards and sessions only pretend."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.deployed.conftest import nothing_left, service, stack
from tests.fakes import little_hub
from tests.fakes.little_hub import TWO_FREE
from tests.service import NEW_PASSWORD, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page, Request

    from tests.fakes.little_hub import LittleHub

__all__ = ["nothing_left", "service", "stack"]


def sign_in(page: Page, name: str) -> None:
    """Fill in the page that a visitor without a session sees."""
    page.get_by_label(re.compile("user ?name", re.IGNORECASE)).fill(name)
    page.get_by_label("Password", exact=True).fill(NEW_PASSWORD)
    page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()
    page.get_by_role("button", name="Start").wait_for()


class Steady:
    """A page that loads again what Chromium dropped.

    It drops what it is loading when the machine gets a network interface, and here each container is one.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._lost = False
        page.on("requestfailed", self._heard)

    def _heard(self, request: Request) -> None:
        if request.resource_type in {"script", "fetch"} and "ERR_NETWORK_CHANGED" in (request.failure or ""):
            self._lost = True

    def visit(self, url: str, heading: str) -> None:
        """Go to a page and wait until it has this heading."""
        self._load(url)
        self.shows(heading, url)

    def shows(self, heading: str, url: str) -> None:
        """Wait until the page, which is or becomes that of `url`, has this heading."""
        title = self._page.get_by_role("heading", name=heading)

        def is_shown() -> bool:
            if self._lost or self._page.url.startswith("chrome-error:"):
                self._load(url)
            self._page.wait_for_timeout(100)  # in which the browser's events arrive
            return title.is_visible()

        wait_until(is_shown, f"the page shows {heading!r}")

    def _load(self, url: str) -> None:
        from playwright.sync_api import Error

        self._lost = False
        try:
            self._page.goto(url)
        except Error as error:
            if "ERR_NETWORK_CHANGED" not in str(error):
                raise
            self._lost = True


@pytest.fixture(scope="session")
def picture() -> Callable[[Page, str], None]:
    """Keep a screenshot for the documentation, if SCIENCEBOX_SCREENSHOTS=docs/images asks for them."""
    folder = os.environ.get("SCIENCEBOX_SCREENSHOTS")

    def keep(page: Page, name: str) -> None:
        if folder:
            page.screenshot(path=Path(folder, f"{name}.png"))

    return keep


# A hub whose cards and sessions only pretend


@pytest.fixture(scope="session")
def running_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LittleHub]:
    """One hub for all tests."""
    with little_hub.running(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def hub(running_hub: LittleHub) -> LittleHub:
    """The hub, showing two free cards."""
    running_hub.show(TWO_FREE)
    return running_hub


@pytest.fixture
def window(browser: Browser, hub: LittleHub) -> Iterator[Callable[..., Page]]:
    """Open a window in which ada is signed in. An error in any of its pages fails the test."""
    contexts, errors = [], []

    def opened(name: str = "ada", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, "locale": "en-GB", **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{hub.url}/hub/login")
        page.get_by_label("User name").fill(name)
        page.get_by_label("Password").fill("x")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Start a session").wait_for()
        page.wait_for_load_state()  # buttons whose scripts wait for the whole document do nothing before
        return page

    yield opened
    for context in contexts:
        context.close()
    hub.sign_in("ada").cancel()
    assert errors == []
