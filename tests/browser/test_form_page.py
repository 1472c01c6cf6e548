"""The form, the waiting page and the GPUs page in Chromium, on a hub whose cards and sessions only pretend."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sciencebox.gpus.device import Health

from tests.fakes import little_hub
from tests.fakes.little_hub import TWO_FREE, State, gpu, held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from tests.fakes.little_hub import LittleHub

pytestmark = pytest.mark.browser

ILL = gpu(3, "NVIDIA T4", 16, health=Health.QUARANTINED, health_reason="2 uncorrectable memory errors")
BUSY = State(
    gpus=(gpu(0), gpu(1), gpu(2, "NVIDIA T4", 16), ILL),
    holdings=(held(0, "bob"), held(1, "maria"), held(2, "ada")),
    line=("eva", "karl"),
)
NO_DRIVER = State(reason="The NVIDIA driver is not installed.", releases=())
FIRST_PASSWORD = "one-time-password-as-printed"
FAILURE = "No GPU can be had now: NVIDIA A100 0 is not used because of 2 uncorrectable memory errors."
NEXT = {"position": 1, "waiting": 2, "start": 1_790_000_000.0, "ahead": [], "holders": ["bob", "maria"]}
LAST = {"position": 3, "waiting": 3, "start": None, "ahead": ["bob", "eva"], "holders": ["maria"]}
# Every text in view whose contrast is below WCAG's AA (4.5 to 1 for text of ordinary size).
FAINT = """() => {
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return { rgb: n.slice(0, 3), a: n[3] ?? 1 }; };
  const over = (top, under) => top.rgb.map((c, i) => c * top.a + under[i] * (1 - top.a));
  const light = rgb => rgb.map(c => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = node => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.unshift(parse(getComputedStyle(at).backgroundColor));
    return layers.reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim(), node = texts.currentNode.parentElement;
    const unseen = !node.checkVisibility() || node.closest('script, noscript, .visually-hidden, :disabled');
    if (!text || unseen) continue;
    const back = behind(node), front = over(parse(getComputedStyle(node).color), back);
    const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
    const contrast = (high + .05) / (low + .05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${text}`);
  }
  return faint;
}"""


@pytest.fixture(scope="module")
def running_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LittleHub]:
    """One hub for all tests."""
    with little_hub.running(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def hub(running_hub: LittleHub) -> LittleHub:
    """The hub, showing two free cards."""
    running_hub.show(TWO_FREE)
    return running_hub


@pytest.fixture(scope="module")
def accounts_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LittleHub]:
    """A hub whose people have passwords; its administrator's is still the printed one."""
    folder = tmp_path_factory.mktemp("hub")
    with little_hub.running(folder, "native", first_password=FIRST_PASSWORD) as hub:
        yield hub


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
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password:").fill("x")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Start a session").wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    hub.sign_in("ada").cancel()
    assert errors == []


def row(page: Page, title: str) -> Any:
    """A line of the GPU choice."""
    return page.locator(".sb-gpu").filter(has_text=title)


def look(page: Page) -> None:
    """Ask the server at once, as when the window comes to the front, instead of in a few seconds."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def unreadable(page: Page, width: int) -> list[str]:
    """What a reader could not read or reach: texts too faint, a page too wide, fields without a label."""
    faint: list[str] = page.evaluate(FAINT)
    wide = page.evaluate("document.documentElement.scrollWidth")
    nameless = page.locator("main input:not([type=hidden]), main select").evaluate_all(
        "fields => fields.filter(field => !field.labels.length).map(field => `${field.id} has no label`)"
    )
    return [*faint, *nameless, *([f"{wide} px wide"] if wide > width else [])]


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


def test_the_gpus_page_follows_the_server(hub: LittleHub, window: Callable[..., Page]):
    page = window()
    page.get_by_role("link", name="GPUs").click()
    page.get_by_role("row").filter(has_text="GPU-0").get_by_text("Free").wait_for()
    assert page.get_by_text("Nobody waits for a GPU.").is_visible()
    hub.show(BUSY)
    page.get_by_text("In use by bob").wait_for(timeout=15_000)
    page.get_by_text("In quarantine: 2 uncorrectable memory errors").wait_for()
    assert page.locator(".sb-line tbody tr").all_inner_texts()[1].startswith("2\tkarl\t1 GPU\t")
    assert page.locator("time").first.inner_text().startswith("since ")


def test_an_administrator_takes_a_card_out_of_service_and_puts_it_back(hub: LittleHub, window: Callable[..., Page]):
    page = window("admin")
    answers = ["", "its fan is replaced"]  # who gives no reason has changed their mind
    page.on("dialog", lambda dialog: dialog.accept(answers.pop(0)))
    page.goto(f"{hub.url}/hub/sciencebox/gpus")
    card = page.get_by_role("row").filter(has_text="GPU-0")
    card.get_by_role("button", name="Take out GPU 0").click()
    assert card.get_by_text("Free").is_visible()
    card.get_by_role("button", name="Take out GPU 0").click()
    card.get_by_text("Was taken out of service by the administrator: its fan is replaced").wait_for()
    card.get_by_role("button", name="Put back GPU 0").click()
    card.get_by_text("Free").wait_for()


def test_others_have_no_such_buttons(hub: LittleHub, window: Callable[..., Page]):
    page = window()
    page.goto(f"{hub.url}/hub/sciencebox/gpus")
    assert page.get_by_role("button", name=re.compile("Take out")).count() == 0


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


# The queue


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


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 360)], ids=str)
def test_the_waiting_page_can_be_read_in_both_themes_and_on_a_telephone(
    hub: LittleHub, window: Callable[..., Page], picture: Callable[[Page, str], None], theme: str, width: int
):
    page = window(viewport={"width": width, "height": 860}, color_scheme=theme)
    hub.show(replace(BUSY, start="gpu", standing=LAST))
    page.goto(f"{hub.url}/hub/spawn?gpu=any")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("region", name="Your place in the queue").wait_for()
    picture(page, f"queue-{theme}-{width}")
    assert unreadable(page, width) == []


# The look


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)], ids=str)
def test_every_page_can_be_read_in_both_themes_and_on_a_telephone(
    hub: LittleHub, window: Callable[..., Page], picture: Callable[[Page, str], None], theme: str, width: int
):
    page = window(viewport={"width": width, "height": 860}, color_scheme=theme)
    found = {}
    for name, state, path in (
        ("form", BUSY, "spawn?gpu=NVIDIA+T4&stack=none"),
        ("form-without-gpus", NO_DRIVER, "spawn"),
        ("gpus", BUSY, "sciencebox/gpus"),
        ("gpus-none", NO_DRIVER, "sciencebox/gpus"),
        ("home", BUSY, "home"),
        ("error", BUSY, "nothing/here"),
    ):
        hub.show(state)
        page.goto(f"{hub.url}/hub/{path}")
        page.wait_for_load_state("networkidle")
        picture(page, f"{name}-{theme}-{width}")
        found[name] = unreadable(page, width)
    assert {name: problems for name, problems in found.items() if problems} == {}


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 360)], ids=str)
def test_a_start_and_its_failure_can_be_read_in_both_themes_and_on_a_telephone(
    hub: LittleHub, window: Callable[..., Page], picture: Callable[[Page, str], None], theme: str, width: int
):
    page = window(viewport={"width": width, "height": 860}, color_scheme=theme)
    hub.show(replace(TWO_FREE, start="gpu", failure=FAILURE))
    page.goto(f"{hub.url}/hub/spawn?gpu=any")
    page.get_by_role("button", name="Start").click()
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
    for password in ("a-wrong-password", FIRST_PASSWORD):
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


def test_the_theme_is_switched_by_its_button(hub: LittleHub, window: Callable[..., Page]):
    page = window(color_scheme="light")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name=re.compile("dark mode")).click()
    assert page.locator("html").get_attribute("data-bs-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
