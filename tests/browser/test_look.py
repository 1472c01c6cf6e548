"""Every page in both themes, on a desk and on a telephone: it can be read, and its fields are named."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.pages import BUSY, FAILURE, LAST, unreadable
from tests.fakes import little_hub
from tests.fakes.little_hub import TWO_FREE, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from tests.fakes.little_hub import LittleHub

NO_DRIVER = State(reason="The NVIDIA driver is not installed.", releases=())
UNREADABLE = replace(TWO_FREE, releases=(), stack_fault="/cvmfs/software.example.org does not answer.")
TOO_OLD = replace(
    TWO_FREE,
    stack_notes=(
        "PyTorch of SB_1_cuda needs a driver for CUDA 13; this server's serves CUDA 12.4, so it computes on the CPU "
        "there until the driver is upgraded.",
    ),
)
FIRST_PASSWORD = "one-time-password-as-printed"
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def accounts_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LittleHub]:
    """A hub whose people have passwords; its administrator's is still the printed one."""
    folder = tmp_path_factory.mktemp("hub")
    with little_hub.running(folder, "own", first_password=FIRST_PASSWORD) as hub:
        yield hub


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)], ids=str)
def test_every_page_can_be_read_in_both_themes_and_on_a_telephone(
    hub: LittleHub, window: Callable[..., Page], picture: Callable[[Page, str], None], theme: str, width: int
):
    page = window(viewport={"width": width, "height": 860}, color_scheme=theme)
    found = {}
    for name, state, path in (
        ("form", BUSY, "spawn?gpu=NVIDIA+T4&stack=none"),
        ("form-without-gpus", NO_DRIVER, "spawn"),
        ("form-without-a-stack", UNREADABLE, "spawn"),
        ("form-with-an-old-driver", TOO_OLD, "spawn"),
        ("gpus", BUSY, "sciencebox/gpus"),
        ("gpus-none", NO_DRIVER, "sciencebox/gpus"),
        ("usage", BUSY, "sciencebox/usage"),
        ("home", BUSY, "home"),
        ("error", BUSY, "nothing/here"),
    ):
        hub.show(state)
        page.goto(f"{hub.url}/hub/{path}")
        page.wait_for_load_state()
        picture(page, f"{name}-{theme}-{width}")
        found[name] = unreadable(page, width)
    assert {name: problems for name, problems in found.items() if problems} == {}


def ask_for_a_gpu(page: Page, hub: LittleHub, state: State) -> None:
    """Press Start for any GPU of this state."""
    hub.show(state)
    page.goto(f"{hub.url}/hub/spawn?gpu=any")
    page.get_by_role("button", name="Start").click()


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 360)], ids=str)
def test_a_start_and_its_failure_can_be_read_in_both_themes_and_on_a_telephone(
    hub: LittleHub, window: Callable[..., Page], picture: Callable[[Page, str], None], theme: str, width: int
):
    page = window(viewport={"width": width, "height": 860}, color_scheme=theme)
    ask_for_a_gpu(page, hub, replace(TWO_FREE, start="gpu", failure=FAILURE))
    page.locator("li.current").filter(has_text="Getting a GPU").wait_for()
    picture(page, f"pending-{theme}-{width}")
    assert unreadable(page, width) == []
    page.get_by_role("alert").filter(has_text=FAILURE).wait_for()
    picture(page, f"failed-{theme}-{width}")
    assert unreadable(page, width) == []


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 360)], ids=str)
def test_the_pages_of_accounts_can_be_read_in_both_themes_and_on_a_telephone(
    browser: Browser, accounts_hub: LittleHub, picture: Callable[[Page, str], None], theme: str, width: int
):
    context = browser.new_context(viewport={"width": width, "height": 860}, color_scheme=theme)
    page = context.new_page()

    def check(name: str) -> None:
        picture(page, f"{name}-{theme}-{width}")
        assert unreadable(page, width) == [], name

    page.goto(f"{accounts_hub.url}/hub/signup")
    check("sign-up")
    page.get_by_label("User name").fill(f"eva-{theme}")
    page.get_by_label("Password", exact=True).fill(FIRST_PASSWORD)
    page.get_by_label("The same password again").fill(FIRST_PASSWORD)
    page.get_by_role("button", name="Ask for an account").click()
    page.get_by_role("alert").wait_for()
    check("signed-up")
    page.get_by_role("link", name="Back to signing in").click()
    for password, alerts in (("a-wrong-password", 0), (FIRST_PASSWORD, 1)):
        page.get_by_role("heading", name="Sign in").wait_for()
        expect(page.get_by_role("alert")).to_have_count(alerts)
        check("sign-in")
        page.get_by_label("User name").fill("admin")
        page.get_by_label("Password", exact=True).fill(password)
        page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Change your password").wait_for()
    check("change-password")
    page.goto(f"{accounts_hub.url}/hub/authorize")
    page.get_by_role("row").filter(has_text=f"eva-{theme}").get_by_role("button", name="Approve").wait_for()
    check("accounts")
    context.close()


@pytest.mark.parametrize("width", [360, 600, 768, 900])
def test_an_administrator_s_bar_fits_and_says_where_one_is(hub: LittleHub, window: Callable[..., Page], width: int):
    page = window("admin", viewport={"width": width, "height": 860})
    for path, title, here in (
        ("sciencebox/gpus", "GPUs", "GPUs"),
        ("sciencebox/usage", "GPU usage", "Usage"),
        ("spawn", "Start a session", "Session"),
        ("nothing/here", "No such page", None),
    ):
        page.goto(f"{hub.url}/hub/{path}")
        assert page.title().startswith(f"{title} ") and page.title().endswith(" ScienceBox GPU")
        assert page.locator("nav [aria-current=page]").all_inner_texts()[:1] == ([here] if here else [])
        assert unreadable(page, width) == []


def test_the_theme_is_switched_by_its_button(hub: LittleHub, window: Callable[..., Page]):
    page = window(color_scheme="light")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name=re.compile("dark mode")).click()
    assert page.locator("html").get_attribute("data-bs-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 360)], ids=str)
def test_the_waiting_page_can_be_read_in_both_themes_and_on_a_telephone(
    hub: LittleHub, window: Callable[..., Page], picture: Callable[[Page, str], None], theme: str, width: int
):
    page = window(viewport={"width": width, "height": 860}, color_scheme=theme)
    ask_for_a_gpu(page, hub, replace(BUSY, start="gpu", standing=LAST))
    page.get_by_role("region", name="Your place in the queue").wait_for()
    picture(page, f"queue-{theme}-{width}")
    assert unreadable(page, width) == []
