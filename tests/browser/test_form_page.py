"""The form and the page of a start in Chromium, on a hub whose cards and sessions only pretend."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.browser.pages import BUSY, FAILURE, look, row
from tests.fakes.little_hub import TWO_FREE, held

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.fakes.little_hub import LittleHub

pytestmark = pytest.mark.browser


# Links


def test_a_link_fills_the_form_in_and_copy_link_makes_the_same_link(hub: LittleHub, window: Callable[..., Page]):
    page = window(permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"{hub.url}/hub/spawn?stack=SB_1&cores=4&memory=8+GiB&gpu=NVIDIA+A100&gpu_count=2")
    assert page.get_by_label("Software stack").input_value() == "SB_1"
    assert page.get_by_role("radio", name="4", exact=True).is_checked()
    assert row(page, "NVIDIA A100").get_by_role("radio").is_checked()
    assert page.get_by_label("How many").input_value() == "2"

    page.get_by_role("button", name="Copy link").click()
    page.get_by_text("Copied.").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    page.goto(f"{hub.url}/hub/spawn")
    page.goto(copied)
    assert page.get_by_label("How many").input_value() == "2"
    assert page.get_by_role("heading", name="Start a session").is_visible()  # nothing was started by it


def test_where_the_clipboard_is_closed_the_link_is_shown(hub: LittleHub, window: Callable[..., Page]):
    page = window()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy link").click()
    page.get_by_text(f"{hub.url}/hub/spawn?stack=").wait_for()


# The open page follows what changes


def test_numbers_follow_the_server_while_the_form_is_open(hub: LittleHub, window: Callable[..., Page]):
    page = window()
    badge = row(page, "NVIDIA A100").locator(".badge")
    assert badge.inner_text() == "2 of 2 free"
    row(page, "NVIDIA A100").click()
    hub.show(replace(TWO_FREE, holdings=(held(0, "bob"),)))
    look(page)
    row(page, "NVIDIA A100").get_by_text("in use by bob").wait_for()
    assert badge.inner_text() == "1 of 2 free"
    assert row(page, "NVIDIA A100").get_by_role("radio").is_checked()
    assert "NVIDIA A100: 1 of 2 free" in page.locator("[aria-live]").all_inner_texts()[0]


def test_a_form_that_can_no_longer_be_refreshed_says_so(hub: LittleHub, window: Callable[..., Page]):
    page = window()
    page.route("**/sciencebox/numbers", lambda route: route.abort())
    look(page)
    page.get_by_text("The service does not answer at the moment.").wait_for()
    page.unroute("**/sciencebox/numbers")
    page.route("**/sciencebox/numbers", lambda route: route.fulfill(status=403))
    look(page)
    page.get_by_text("You are signed out").wait_for()
    page.unroute("**/sciencebox/numbers")
    look(page)
    page.locator("#freshness").wait_for(state="hidden")


def test_a_page_in_the_background_asks_nothing(hub: LittleHub, window: Callable[..., Page]):
    page = window()
    page.clock.install()
    page.goto(f"{hub.url}/hub/spawn")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true, configurable: true })")
    look(page)
    page.clock.run_for(60_000)
    page.evaluate("delete document.hidden")
    with page.expect_response("**/sciencebox/numbers"):
        look(page)
    assert [url.rpartition("/")[2] for url in asked if "favicon" not in url] == ["numbers"]


# By keyboard


def test_the_count_fits_the_choice(hub: LittleHub, window: Callable[..., Page]):
    hub.show(BUSY)
    page = window()
    page.goto(f"{hub.url}/hub/spawn?gpu=any")
    count = page.get_by_label("How many")
    assert count.get_attribute("max") == "4"
    count.fill("3")
    row(page, "NVIDIA A100").click()
    assert (count.get_attribute("max"), count.input_value()) == ("2", "2")
    row(page, "No GPU").click()
    assert not count.is_visible()


def test_any_gpu_may_have_to_have_some_memory(hub: LittleHub, window: Callable[..., Page]):
    hub.show(BUSY)
    page = window()
    page.goto(f"{hub.url}/hub/spawn?gpu=any&gpu_memory=80+GiB")
    memory = page.get_by_label("With a memory of")
    assert memory.input_value() == "80 GiB"
    row(page, "NVIDIA A100").click()
    assert not memory.is_visible()
    row(page, "Any GPU").click()
    assert memory.is_visible()


def test_the_form_is_filled_in_and_sent_by_keyboard_alone(hub: LittleHub, window: Callable[..., Page]):
    page = window()
    page.goto(f"{hub.url}/hub/spawn?gpu=none&cores=2&memory=4+GiB")
    page.get_by_label("Software stack").focus()
    reached = []
    for key in ("Tab", "ArrowRight", "Tab", "ArrowRight", "Tab", "ArrowDown", "ArrowDown", "Tab"):
        page.keyboard.press(key)
        reached.append(page.evaluate("document.activeElement.id + '=' + (document.activeElement.value ?? '')"))
    assert [reached[1], reached[3], reached[6]] == ["cores-3=4", "memory-3=8 GiB", "gpu-2=NVIDIA A100"]
    assert reached[7] == "gpu_count=1"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "start"
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Your session is starting").wait_for()
    page.get_by_text("Creating the session").first.wait_for()


# Waiting


def test_a_start_that_fails_says_why_and_leads_back_to_the_form(hub: LittleHub, window: Callable[..., Page]):
    hub.show(replace(TWO_FREE, start="gpu", failure=FAILURE))
    page = window()
    row(page, "NVIDIA A100").click()
    page.get_by_role("button", name="Start").click()
    page.locator("li.current").filter(has_text="Getting a GPU").wait_for()
    page.get_by_role("alert").filter(has_text=FAILURE).wait_for()
    back = page.get_by_role("link", name="Back to the form")
    assert back.evaluate("node => node === document.activeElement")
    assert page.locator("li.failed").inner_text() == "Getting a GPU"
    assert not page.get_by_role("button", name="Cancel").is_visible()
    page.reload()  # what was said is not lost with the page
    page.get_by_role("alert").filter(has_text=FAILURE).wait_for()
    back.click()
    assert row(page, "NVIDIA A100").get_by_role("radio").is_checked()


def test_what_a_failure_says_is_text(hub: LittleHub, window: Callable[..., Page]):
    hub.show(replace(TWO_FREE, failure="<img src=x onerror=alert(1)>"))
    page = window()
    page.get_by_role("button", name="Start").click()
    page.get_by_role("alert").filter(has_text="<img src=x").wait_for()
    assert page.locator("img[src=x]").count() == 0


def test_a_pending_page_that_loses_the_hub_says_so_and_comes_back(hub: LittleHub, window: Callable[..., Page]):
    page = window()
    page.route("**/progress*", lambda route: route.fulfill(status=502))
    page.get_by_role("button", name="Start").click()
    page.get_by_text("The connection was lost; trying again").wait_for()
    page.unroute("**/progress*")
    page.locator("li.current").filter(has_text="Creating the session").wait_for()


def test_a_start_is_cancelled(hub: LittleHub, window: Callable[..., Page]):
    page = window()
    row(page, "No GPU").click()
    page.get_by_role("button", name="Start").click()
    assert page.locator("[data-step=gpu]").count() == 0
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("heading", name="Start a session").wait_for()


def test_a_start_that_is_slow_to_end_is_waited_for(hub: LittleHub, window: Callable[..., Page]):
    hub.show(replace(TWO_FREE, lets_go_s=3))
    page = window()
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("This takes longer than usual").wait_for()
    page.get_by_role("heading", name="Start a session").wait_for()
