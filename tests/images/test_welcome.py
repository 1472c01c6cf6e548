"""The welcome page in a real browser, in a session started as the spawner starts it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Route

from tests.fakes.hub_api import END

pytestmark = [pytest.mark.engine, pytest.mark.browser]

SCRIPT = "<img src=x onerror='window.harmed=1'><script>window.harmed=1</script>"
GPU = {"uuid": "GPU-1", "model": "NVIDIA A100", "memory_bytes": 40 * 2**30, "mig_profile": None, "simulated": False}
FACTS: dict[str, Any] = {
    "release": "SB_1",
    "view": "/view",
    "until": None,
    "cores": 2,
    "memory_bytes": 8 * 2**30,
    "gpus": [GPU],
    "simulated": False,
    "attach": "cdi",
}


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """Two bundled notebooks, one of which is named and titled with HTML."""
    folder = tmp_path / "gallery"
    folder.mkdir()
    put(folder, "00_first", "# First steps\n\nWhat it shows. More.")
    put(folder, "<script>window.harmed=1<", f"# {SCRIPT}\n\n{SCRIPT}")
    return folder


def put(folder: Path, name: str, markdown: str) -> None:
    """Write a notebook of one cell."""
    cell = {"cell_type": "markdown", "id": "m", "metadata": {}, "source": markdown}
    notebook = {"cells": [cell], "metadata": {"kernelspec": {"name": "pytorch", "display_name": "PyTorch"}}}
    (folder / f"{name}.ipynb").write_text(json.dumps(notebook | {"nbformat": 4, "nbformat_minor": 5}))


@pytest.fixture
def visit(
    session: Callable[..., Any], browser: Browser, gallery: Path, tmp_path: Path
) -> Iterator[Callable[..., tuple[Page, Path]]]:
    """A function that starts a session with the given facts and opens it; returns the page and the user's home."""
    kernel = tmp_path / "view/share/jupyter/kernels/pytorch/kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": ["sleep", "60"], "display_name": "PyTorch", "language": "python"}))
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    errors: list[str] = []

    def open_lab(
        path: str = "lab", prepare: Callable[[Page], None] = lambda _: None, **changes: Any
    ) -> tuple[Page, Path]:
        running = session(
            FACTS | changes,
            environment={"JUPYTER_PATH": "/view/share/jupyter"},
            volumes={
                str(gallery): {"bind": "/opt/sciencebox/notebooks", "mode": "ro"},
                str(tmp_path / "view"): {"bind": "/view", "mode": "ro"},
            },
        )
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        prepare(page)
        page.goto(f"{running.url}{path}?token=token-of-ada")
        return page, running.home

    yield open_lab
    context.close()
    assert errors == []


def facts(page: Page) -> str:
    """What the page says about the session."""
    return str(page.get_by_role("region", name="This session").inner_text())


def test_the_page_says_what_the_session_has(visit: Callable[..., tuple[Page, Path]]) -> None:
    page, _ = visit()
    page.get_by_role("heading", name="Welcome to ScienceBox").wait_for()
    assert all(text in facts(page) for text in ["NVIDIA A100", "40 GiB", "2", "8 GiB", "SB_1"])
    assert "SIMULATED" not in page.locator(".sb-Welcome").inner_text()
    assert page.get_by_text("Launcher", exact=True).count() == 0


def test_the_end_of_the_session_is_said_and_warned_of(visit: Callable[..., tuple[Page, Path]]) -> None:
    answers = [END | {"seconds_left": 1200.0}] * 2

    def prepare(page: Page) -> None:
        page.clock.install()
        page.route("**/sciencebox/end*", lambda route: route.fulfill(json=answers.pop()) if answers else route.abort())

    page, _ = visit(prepare=prepare)
    page.get_by_role("heading", name="Welcome to ScienceBox").wait_for()
    assert re.search(r"until .*\d:\d\d", facts(page))
    warning = page.get_by_text("This session's time is over at")
    assert warning.count() == 0
    for minutes, warnings in ((11, 1), (9, 2)):
        page.clock.run_for(minutes * 60_000)
        page.wait_for_function(
            "number => document.querySelectorAll('.Toastify__toast').length === number", arg=warnings
        )


def test_a_session_is_extended_where_its_end_is_warned_of(visit: Callable[..., tuple[Page, Path]]) -> None:
    ends = [END | {"seconds_left": 300.0, "more_seconds": 7200.0}]

    def answer(route: Route) -> None:
        if route.request.method == "POST":
            ends[0] = END | {"seconds_left": 7500.0}
        route.fulfill(json=ends[0])

    page, _ = visit(prepare=lambda page: page.route("**/sciencebox/end*", answer))
    page.get_by_role("button", name="Stay longer").click()
    page.get_by_text("This session may now run until").wait_for()
    page.get_by_text("This session's time is over at").wait_for(state="hidden")


def test_a_gpu_that_does_nothing_is_said(visit: Callable[..., tuple[Page, Path]]) -> None:
    def prepare(page: Page) -> None:
        page.route("**/sciencebox/end*", lambda route: route.fulfill(json=END | {"idle_seconds_left": 550.0}))

    page, _ = visit(prepare=prepare)
    page.get_by_text("The GPU of this session has computed nothing for a long time.").wait_for()


def test_a_gpu_that_fails_is_said_once(visit: Callable[..., tuple[Page, Path]]) -> None:
    def prepare(page: Page) -> None:
        page.clock.install()
        page.route("**/sciencebox/end*", lambda route: route.fulfill(json=END | {"faults": ["Your GPU has failed."]}))

    page, _ = visit(prepare=prepare)
    failed = page.get_by_text("Your GPU has failed.")
    failed.wait_for()
    page.clock.run_for(130_000)
    assert failed.count() == 1


def test_no_gpu_and_no_kernels_are_said(visit: Callable[..., tuple[Page, Path]]) -> None:
    page, _ = visit(gpus=[], release=None, view=None)
    page.get_by_role("heading", name="Welcome to ScienceBox").wait_for()
    assert "No GPU in this session" in facts(page)
    assert "No kernels are available" in facts(page)


def test_simulated_gpus_are_called_so(visit: Callable[..., tuple[Page, Path]]) -> None:
    page, _ = visit(gpus=[GPU | {"simulated": True}], simulated=True)
    heading = page.get_by_role("heading", name="Welcome to ScienceBox")
    heading.wait_for()
    assert "SIMULATED" in heading.inner_text()
    assert "SIMULATED" in facts(page)


def test_one_click_opens_a_copy_and_a_new_edition_leaves_it_alone(
    visit: Callable[..., tuple[Page, Path]], gallery: Path
) -> None:
    page, home = visit()
    open_copy = page.get_by_role("button", name="Open a copy of First steps")
    open_copy.click()
    page.get_by_role("tab", name="00_first.ipynb").wait_for()
    copied = home / "notebooks/00_first.ipynb"
    mine = copied.read_bytes()

    put(gallery, "00_first", "# First steps\n\nRevised.")
    page.get_by_role("tab", name="Welcome").click()
    open_copy.click()
    page.get_by_role("button", name="Copy as 00_first-2.ipynb").click()
    page.get_by_role("tab", name="00_first-2.ipynb").wait_for()
    assert copied.read_bytes() == mine
    assert "Revised" in (home / "notebooks/00_first-2.ipynb").read_text()


def test_a_notebook_named_and_titled_with_html_is_only_text(visit: Callable[..., tuple[Page, Path]]) -> None:
    page, home = visit()
    page.get_by_role("heading", name=SCRIPT).wait_for()
    page.get_by_role("button", name=f"Open a copy of {SCRIPT}").click()
    page.get_by_role("tab", name="script").wait_for()
    assert page.evaluate("window.harmed") is None
    assert (home / "notebooks/<script>window.harmed=1<.ipynb").exists()


def test_a_notebook_of_the_gallery_can_be_copied_from_its_toolbar(visit: Callable[..., tuple[Page, Path]]) -> None:
    page, home = visit("lab/tree/examples/00_first.ipynb")
    page.get_by_role("button", name="Copy to my files").click()
    page.get_by_text("Copied to notebooks/00_first.ipynb").wait_for()
    assert (home / "notebooks/00_first.ipynb").exists()
    assert page.locator(".sb-Welcome").count() == 0
