"""The page of somebody who waits for a GPU in Chromium, on a hub whose queue only pretends."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.browser.pages import BUSY, LAST, NEXT

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Route

    from tests.fakes.little_hub import LittleHub

pytestmark = pytest.mark.browser


@pytest.fixture
def waiting(hub: LittleHub, window: Callable[..., Page]) -> Page:
    """A window in which ada waits for a GPU, after bob and eva."""
    hub.show(replace(BUSY, start="gpu", standing=LAST))
    page = window()
    page.goto(f"{hub.url}/hub/spawn?gpu=NVIDIA+A100&memory=8+GiB&stack=none")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("heading", name="Waiting for a GPU").wait_for()
    return page


def test_the_waiting_page_says_where_one_stands_and_follows(hub: LittleHub, waiting: Page):
    place = waiting.get_by_role("region", name="Your place in the queue")
    assert place.get_by_text("You are number 3 of 3 in the queue").is_visible()
    assert place.get_by_text("Ahead of you: bob and eva.").is_visible()
    assert "number 3 of 3" in waiting.title()
    assert waiting.locator("[aria-current=step]").inner_text() == "Getting a GPU"

    hub.show(replace(BUSY, start="gpu", standing=NEXT))
    place.get_by_text("You are next").wait_for()
    assert place.get_by_text("Nobody is ahead of you.").is_visible()
    assert place.get_by_text("Your turn comes by about").is_visible()
    assert waiting.title().startswith("You are next")


def test_a_reload_keeps_the_place(waiting: Page):
    waiting.reload()
    waiting.get_by_text("You are number 3 of 3 in the queue", exact=True).first.wait_for()


def test_who_waits_may_start_without_a_gpu_and_keeps_the_other_choices(hub: LittleHub, waiting: Page):
    with waiting.expect_request(lambda request: request.method == "POST") as started:
        hub.show(BUSY)
        waiting.get_by_role("button", name="Start now without a GPU").click()
    options = started.value.post_data_json["user_options"]
    assert (options["gpu"], options["memory"]) == ("none", "8 GiB")
    waiting.locator("li.current").filter(has_text="Creating the session").wait_for()
    assert waiting.locator("[data-step=gpu]").count() == 0


def test_who_leaves_the_queue_is_back_at_the_form(waiting: Page):
    waiting.get_by_role("button", name="Leave the queue").click()
    waiting.get_by_role("heading", name="Start a session").wait_for()


def overheard(page: Page, place: str) -> list[str]:
    """What pages from now on say in the element with this id, as somebody who listens hears it."""
    said: list[str] = []
    page.expose_function("heard", lambda text: said.append(text))  # noqa: PLW0108 - which a built-in cannot be
    page.add_init_script(f"""addEventListener('DOMContentLoaded', () => {{
        const place = document.getElementById('{place}');
        place && new MutationObserver(() => heard(place.textContent)).observe(place, {{ childList: true }});
    }})""")
    return said


def test_a_connection_that_is_lost_once_is_made_again_without_a_word(hub: LittleHub, window: Callable[..., Page]):
    """A browser drops what it is loading when its network changes; on the server itself each session does that."""
    hub.show(replace(BUSY, start="gpu", standing=LAST))
    page = window()
    drop = iter([True])
    page.route("**/progress?*", lambda route: route.abort() if next(drop, False) else route.continue_())
    said = overheard(page, "pending-message")
    page.goto(f"{hub.url}/hub/spawn?gpu=NVIDIA+A100&stack=none")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("You are number 3 of 3 in the queue", exact=True).first.wait_for()
    assert next(drop, None) is None
    assert not [text for text in said if "lost" in text]


@pytest.mark.parametrize(("button", "place"), [("Leave the queue", "pending-message"), ("Stop", "stop-said")])
def test_an_end_whose_answer_is_lost_is_no_failure(hub: LittleHub, waiting: Page, button: str, place: str):
    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    said = overheard(waiting, place)
    waiting.route("**/api/users/ada/server", lose)
    waiting.goto(f"{hub.url}/hub/home" if button == "Stop" else waiting.url)
    waiting.get_by_role("button", name=button).click()
    waiting.get_by_role("link", name=re.compile("Start|form")).wait_for()
    assert not [text for text in said if "try again" in text]
