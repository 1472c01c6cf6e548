"""Chromium, and the deployed service that it visits."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.deployed.conftest import nothing_left, service, stack
from tests.service import NEW_PASSWORD, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Request

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

    def shows(self, heading: str, url: str) -> None:
        """Wait until the page, which is or becomes that of `url`, has this heading."""
        title = self._page.get_by_role("heading", name=heading)

        def is_shown() -> bool:
            if self._lost or self._page.url.startswith("chrome-error:"):
                self._lost = False
                self._page.goto(url)
            self._page.wait_for_timeout(100)  # in which the browser's events arrive
            return title.is_visible()

        wait_until(is_shown, f"the page shows {heading!r}")


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Page, str], None]:
    """Keep a screenshot: those of the documentation are made with SCIENCEBOX_SCREENSHOTS=docs/images."""
    named = os.environ.get("SCIENCEBOX_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")

    def keep(page: Page, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")

    return keep
