"""A scientist's first quarter of an hour: sign in, pick a GPU, run both bundled notebooks to their end."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Steady, sign_in
from tests.deployed.conftest import AT_WORK
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.fakes.driver.fake import FakeDriver
    from tests.service import Service

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.notebooks]

NAME = "maria"
# What was being loaded when a page was left, or when Chromium dropped it (see Steady).
LOST = re.compile(r"Failed to fetch|Loading (CSS )?chunk|dynamically imported module|ScriptExternalLoadError")
# The part of each notebook that its picture shows.
SHOWN = {"00_your_gpu": "CPU against GPU", "11_classification_2d": "The test"}
# How long training takes: the documentation's pictures are made with `quick`.
SIZE = os.environ.get("SCIENCEBOX_NOTEBOOK_SIZE", "smoke")
LOOK_MS = 40_000  # the driver is looked at every fifteen seconds
RUN_S = 300 if SIZE == "smoke" else 900


@pytest.fixture(scope="module")
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """One browser window for the whole tour; an error in a page fails it."""
    service.person(NAME)
    context = browser.new_context(viewport={"width": 1280, "height": 900}, ignore_https_errors=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: None if LOST.search(str(error)) else errors.append(str(error)))
    yield page
    context.close()
    service.people[NAME].stop()
    assert errors == []


def test_signing_in_leads_to_the_form(page: Page, service: Service, picture: Any) -> None:
    page.goto(service.url)
    picture(page, "sign-in")
    sign_in(page, NAME)


def test_the_form_offers_the_cards_that_are_free(page: Page, picture: Any) -> None:
    assert page.get_by_text("2 of 2 free").count() == 2
    page.get_by_role("radio", name=re.compile("^Fake A100")).check()
    picture(page, "form")


def test_start_leads_through_its_steps_to_jupyterlab(page: Page, service: Service, picture: Any) -> None:
    steady = Steady(page)
    page.get_by_role("button", name="Start").click()
    steady.shows("Welcome to ScienceBox", f"{service.url}/user/{NAME}/lab")
    assert page.url.startswith(f"{service.url}/user/{NAME}/lab")
    facts = page.get_by_role("region", name="This session").inner_text()
    assert "Fake A100" in facts
    assert len(service.holders()) == 1
    picture(page, "session")


@pytest.mark.parametrize("name", ["00_your_gpu", "11_classification_2d"])
def test_a_bundled_notebook_runs_to_its_end(page: Page, service: Service, picture: Any, name: str) -> None:
    page.goto(f"{service.url}/user/{NAME}/lab?reset")
    page.get_by_role("heading", name="Welcome to ScienceBox").wait_for(timeout=60_000)
    card = page.get_by_role("listitem").filter(has_text=f"{name}.ipynb")
    card.get_by_role("button", name=re.compile("^Open a copy of")).click()
    page.get_by_role("tab", name=f"{name}.ipynb").wait_for(timeout=30_000)
    _choose_size(page, service, name)

    _run_all(page)
    wait_until(lambda: _is_over(page, service, name), f"{name} has run to its end", seconds=RUN_S)
    _show(page, SHOWN[name])
    picture(page, name)

    cells = [cell for cell in _notebook(page, service, name)["cells"] if cell["cell_type"] == "code"]
    problems = [output for cell in cells for output in cell["outputs"] if _is_problem(output)]
    assert problems == []
    assert sum("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"]) >= 1


def test_the_gpus_page_shows_what_the_card_does(page: Page, service: Service, driver: FakeDriver, picture: Any) -> None:
    (mine,) = service.holders()
    card = f"gpu{mine[-1]}"
    work = {f"{card}.busy": 93, f"{card}.used": 23 * 2**30, f"{card}.temperature": 61, f"{card}.power": 287_000}
    driver.set(work)
    steady = Steady(page)
    steady.visit(f"{service.url}/hub/sciencebox/gpus", "GPUs")
    shown = page.get_by_role("listitem").filter(has_text=mine)
    assert shown.get_by_text("In use by you").is_visible()
    for text in ("23 of 80 GiB", "93 %", "61 °C, 287 W"):
        shown.get_by_text(text).wait_for(timeout=LOOK_MS)
    picture(page, "gpus")
    driver.set(dict.fromkeys(work) | {f"{card}.busy": AT_WORK})


def _run_all(page: Page) -> None:
    """By the menu; once more if JupyterLab was not ready to do it."""
    from playwright.sync_api import TimeoutError as TooLate

    begun = page.get_by_text(re.compile(r"\| Busy$"))  # in the status bar; cells may be out of view
    for _ in range(3):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        with suppress(TooLate):
            begun.wait_for(timeout=30_000)
            return


def _choose_size(page: Page, service: Service, name: str) -> None:
    """Set the size in the first cell that has it, as a user would, but in the file."""
    file: Path = service.data_root / "homes" / NAME / "notebooks" / f"{name}.ipynb"
    text = file.read_text()
    assert '\\"quick\\")' in text
    file.write_text(text.replace('\\"quick\\")', f'\\"{SIZE}\\")'))
    page.goto(f"{service.url}/user/{NAME}/lab/tree/notebooks/{name}.ipynb")
    page.get_by_role("tab", name=f"{name}.ipynb").wait_for(timeout=60_000)
    page.get_by_text(re.compile(r"\| Idle$")).wait_for(timeout=60_000)


def _show(page: Page, heading: str) -> None:
    """Go to a part of the notebook by its table of contents."""
    contents = page.locator(".jp-TableOfContents-tree")
    if not contents.is_visible():  # JupyterLab may remember that it was open, and a click would close it
        page.get_by_role("tab", name=re.compile("^Table of Contents")).click()
    contents.get_by_text(heading, exact=True).click()
    title = page.locator(".jp-Notebook .jp-Cell").filter(has=page.get_by_role("heading", name=heading))
    plot = title.locator("xpath=following-sibling::*").locator("img").first
    plot.scroll_into_view_if_needed()
    page.wait_for_function("plot => plot.complete && plot.naturalWidth > 0", arg=plot.element_handle())


def _is_over(page: Page, service: Service, name: str) -> bool:
    """Whether the last code cell was executed and the kernel waits; the notebook is saved for that."""
    kernels = _get(page, service, "api/kernels")
    if not kernels or any(kernel["execution_state"] not in {"idle", "dead"} for kernel in kernels):
        page.wait_for_timeout(500)
        return False
    page.keyboard.press("Control+s")
    page.wait_for_timeout(500)
    cells = [cell for cell in _notebook(page, service, name)["cells"] if cell["cell_type"] == "code"]
    failed = any(output["output_type"] == "error" for cell in cells for output in cell["outputs"])
    return failed or cells[-1]["execution_count"] is not None


def _notebook(page: Page, service: Service, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((service.data_root / "homes" / NAME / "notebooks" / f"{name}.ipynb").read_text())
    return found


def _get(page: Page, service: Service, path: str) -> Any:
    return page.request.get(f"{service.url}/user/{NAME}/{path}").json()


def _is_problem(output: dict[str, Any]) -> bool:
    """An error, or anything on standard error: a reader should see neither."""
    return output["output_type"] == "error" or output.get("name") == "stderr"
