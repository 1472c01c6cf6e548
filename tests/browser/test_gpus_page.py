"""The GPUs page in Chromium, on a hub whose cards only pretend."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from sciencebox.gpus.device import Load

from tests.browser.pages import BUSY, unreadable
from tests.fakes.little_hub import State, gpu, held

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.fakes.little_hub import LittleHub

pytestmark = pytest.mark.browser


def test_the_gpus_page_follows_the_server(hub: LittleHub, window: Callable[..., Page]):
    page = window()
    page.get_by_role("link", name="GPUs").click()
    page.get_by_role("listitem").filter(has_text="GPU-0").get_by_text("Free").wait_for()
    assert page.get_by_text("Nobody waits for a GPU.").is_visible()
    hub.show(BUSY)
    page.get_by_text("In use by bob").wait_for()
    page.get_by_text("In quarantine: 2 uncorrectable memory errors").wait_for()
    assert page.locator(".sb-line tbody tr").all_inner_texts()[1].startswith("2\tkarl\t1 GPU\t")
    assert page.locator("time").first.inner_text().startswith("since ")
    card = page.get_by_role("listitem").filter(has_text="GPU-0")
    for text in ("61 of 80 GiB", "97 %", "71 °C, 287 W"):
        card.get_by_text(text).wait_for()
    assert not page.get_by_role("listitem").filter(has_text="GPU-1").get_by_text("Busy").is_visible()


def test_an_administrator_takes_a_card_out_of_service_and_puts_it_back(hub: LittleHub, window: Callable[..., Page]):
    page = window("admin")
    answers = ["", "its fan is replaced"]  # who gives no reason has changed their mind
    page.on("dialog", lambda dialog: dialog.accept(answers.pop(0)))
    page.goto(f"{hub.url}/hub/sciencebox/gpus")
    card = page.get_by_role("listitem").filter(has_text="GPU-0")
    card.get_by_role("button", name="Take out GPU 0").click()
    assert card.get_by_text("Free").is_visible()
    card.get_by_role("button", name="Take out GPU 0").click()
    card.get_by_text("Was taken out of service by the administrator: its fan is replaced").wait_for()
    card.get_by_role("button", name="Put back GPU 0").click()
    card.get_by_text("Free").wait_for()
    answers.append("wrong results")
    card.get_by_role("button", name="Quarantine GPU 0").click()
    card.get_by_text("In quarantine: wrong results").wait_for()
    card.get_by_role("button", name="Release GPU 0").click()
    card.get_by_text("Free").wait_for()


def test_others_have_no_such_buttons(hub: LittleHub, window: Callable[..., Page]):
    page = window()
    page.goto(f"{hub.url}/hub/sciencebox/gpus")
    assert page.get_by_role("button", name=re.compile("Take out")).count() == 0


def test_a_page_that_hears_nothing_says_so(hub: LittleHub, window: Callable[..., Page]):
    page = window()
    page.route("**/gpus/events", lambda route: route.fulfill(status=502))
    page.goto(f"{hub.url}/hub/sciencebox/gpus")
    page.get_by_text("The service does not answer at the moment.").wait_for()
    page.unroute("**/gpus/events")
    page.get_by_text("Kept up to date while this page is open.").wait_for()


def test_sixty_four_cards_fit_and_an_administrator_at_a_button_stays_there(
    hub: LittleHub, window: Callable[..., Page], picture: Callable[[Page, str], None]
):
    many = tuple(gpu(n, load=Load(n / 64, n * 2**30, 40 + n // 4, 60.0 + n)) for n in range(64))
    hub.show(State(gpus=many))
    page = window("admin")
    page.goto(f"{hub.url}/hub/sciencebox/gpus")
    page.get_by_text("63 of 80 GiB").wait_for()
    picture(page, "gpus-64")
    assert unreadable(page, 1280) == []
    button = page.get_by_role("button", name="Take out GPU 63")
    button.focus()
    hub.show(State(gpus=many, holdings=(held(0, "bob"),)))
    page.get_by_text("In use by bob").wait_for()
    assert button.evaluate("node => node === document.activeElement")
