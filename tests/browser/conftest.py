"""Chromium, and the deployed service that it visits."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.deployed.conftest import nothing_left, service, stack
from tests.service import NEW_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

__all__ = ["nothing_left", "service", "stack"]


def sign_in(page: Page, name: str) -> None:
    """Fill in the page that a visitor without a session sees."""
    page.get_by_label(re.compile("user ?name", re.IGNORECASE)).fill(name)
    page.get_by_label("Password", exact=True).fill(NEW_PASSWORD)
    page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()
    page.get_by_role("button", name="Start").wait_for()


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Page, str], None]:
    """Keep a screenshot: those of the documentation are made with SCIENCEBOX_SCREENSHOTS=docs/images."""
    named = os.environ.get("SCIENCEBOX_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")

    def keep(page: Page, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")

    return keep
