"""What a notebook shows to be touched: drawing a mask, and a head to turn; the kernel hears of it."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import Steady, sign_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Locator, Page

    from tests.service import Service

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.notebooks]

DRAW = """import numpy as np
from brainmri.data import Source
from brainmri.draw import Drawing
drawing = Drawing(np.eye(100, 120), Source("a line", "CC0", synthetic=True))
drawing"""
DRAWN = 'print("drawn", int(drawing.mask.sum()), drawing.mask[80, 100], drawing.mask[50, 60])'

# A ball that is brighter on the patient's right, with a core in oedema.
TURN = """import numpy as np
from pathlib import Path
from brainmri.data import Source
from brainmri.segmentation3d.cases import CORE, OEDEMA, Case
from brainmri.segmentation3d.samples import Sample
from brainmri.segmentation3d.turning import turned
places = np.indices((24, 24, 24)) - 11.5
ball = (np.sqrt((places**2).sum(axis=0)) < 11) * np.linspace(0.2, 1, 24)[:, None, None]
far = np.sqrt(((places - 2) ** 2).sum(axis=0))
labels = np.where(far < 3.5, CORE, np.where(far < 6, OEDEMA, 0)).astype(np.uint8)
case = Case("one", "one", {"flair": (Path("x"), None)}, None)
place = np.ones(3), np.zeros(3), (24,) * 3, np.eye(3, 2), np.eye(4)
one = Sample(case, ball[None].astype(np.float32), labels, 1.0, *place)
box = turned(one, labels, Source("a ball", "CC0", synthetic=True), ["core", "oedema"])
seen = []
box.children[0].on_location_change(seen.append)
box"""
TURNED = 'print("the mask is", seen[-1]["values"][1]["value"], "there")'


@pytest.fixture(scope="module")
def notebook(browser: Browser, service: Service) -> Iterator[Callable[[str, str], Page]]:
    """Opens a notebook of two cells in JupyterLab and runs the first of them."""
    context = browser.new_context(viewport={"width": 1280, "height": 1100}, ignore_https_errors=True)
    page = context.new_page()
    steady = Steady(page)
    service.person("dora")
    page.goto(service.url)
    sign_in(page, "dora")

    def opened(*sources: str) -> Page:
        cells = [
            {"cell_type": "code", "id": f"c{n}", "metadata": {}, "execution_count": None, "outputs": [], "source": text}
            for n, text in enumerate(sources)
        ]
        kernel = {"kernelspec": {"name": "pytorch", "display_name": "PyTorch", "language": "python"}}
        content = json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})
        (service.data_root / "homes/dora/widgets.ipynb").write_text(content)
        page.goto(f"{service.url}/user/dora/lab/tree/widgets.ipynb?reset")
        page.get_by_text(re.compile(r"\| Idle$")).wait_for(timeout=60_000)
        run(page, 0)
        return page

    with service.session("dora", gpu="none"):
        steady.visit(f"{service.url}/user/dora/lab", "Welcome to ScienceBox")
        yield opened
    context.close()


def run(page: Page, cell: int) -> None:
    """Run one of the notebook's cells."""
    page.locator(".jp-Notebook .jp-Cell").nth(cell).click()
    page.keyboard.press("Shift+Enter")


def colours(canvas: Locator) -> np.ndarray:
    """What is drawn: height, width, and red, green and blue from 0 to 255."""
    return np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB"), dtype=int)


def test_what_is_drawn_in_the_browser_is_in_the_kernel(notebook: Callable[..., Page]) -> None:
    page = notebook(DRAW, DRAWN)
    canvas = page.get_by_role("application", name="Slice to draw a mask on.")
    canvas.wait_for(timeout=60_000)
    assert page.get_by_text("SYNTHETIC DATA: a line").is_visible()

    box = canvas.bounding_box()
    assert box
    left, row = box["x"] + box["width"] * 90.5 / 120, box["y"] + box["height"] * 80.5 / 100
    page.mouse.move(left, row)
    page.mouse.down()
    page.mouse.move(left + box["width"] * 20 / 120, row, steps=4)
    page.mouse.up()
    canvas.focus()
    for key in ("Shift+ArrowUp",) * 3 + ("Shift+ArrowLeft",) * 5 + ("Space",):  # from 110, 80 to 60, 50
        page.keyboard.press(key)
    status = page.get_by_role("status").filter(has_text="pixels drawn, brush at 60, 50")
    area = int(status.inner_text().split()[0])
    assert area > 0

    run(page, 1)
    page.locator(".jp-OutputArea-output").get_by_text(f"drawn {area} True True").wait_for(timeout=60_000)


def test_a_head_is_drawn_with_software_webgl_and_cut(notebook: Callable[..., Page]) -> None:
    """Three planes and the head in space, core in orange in oedema in blue; a click goes to the kernel."""
    page = notebook(TURN, TURNED)
    canvas = page.locator(".jp-OutputArea-output canvas")
    canvas.wait_for(timeout=60_000)
    page.get_by_text("SYNTHETIC DATA: a ball").wait_for()
    canvas.scroll_into_view_if_needed()
    red, green, blue = colours(canvas).transpose(2, 0, 1)
    quarters = np.array_split(np.arange(red.shape[1]), 4)
    orange, azure = (red > green + 40) & (green > blue + 20), blue > red + 40
    assert all(azure[:, quarter].sum() > 500 for quarter in quarters)
    assert all(orange[:, quarter].sum() > 300 for quarter in quarters[:3])
    grey = np.where(orange | azure | (red > green + 40), 0, green)[:, quarters[0]]
    left, right = np.array_split(grey, 2, axis=1)
    assert left.sum() > 1.3 * right.sum()  # the patient's right, which is brighter, is on the left

    row, column = (int(np.median(places)) for places in np.nonzero(orange[:, quarters[1]]))
    canvas.click(position={"x": int(quarters[1][0]) + column, "y": row})
    run(page, 1)
    page.locator(".jp-OutputArea-output").get_by_text("the mask is 1 there").wait_for(timeout=60_000)
