"""Drawing a mask in a notebook, with a mouse and by keyboard: what is drawn in the browser is in the kernel."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Steady, sign_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.service import Service

pytestmark = [
    pytest.mark.engine, pytest.mark.browser, pytest.mark.notebooks, pytest.mark.usefixtures("nothing_left")
]  # fmt: skip

DRAW = """import numpy as np
from brainmri.data import Source
from brainmri.draw import Drawing
drawing = Drawing(np.eye(100, 120), Source("a line", "CC0", synthetic=True))
drawing"""
TELL = 'print("drawn", int(drawing.mask.sum()), drawing.mask[80, 100], drawing.mask[50, 60])'


def test_what_is_drawn_in_the_browser_is_in_the_kernel(browser: Browser, service: Service) -> None:
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
        for n, source in enumerate((DRAW, TELL))
    ]
    kernel = {"kernelspec": {"name": "pytorch", "display_name": "PyTorch", "language": "python"}}
    notebook = json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})
    context = browser.new_context(viewport={"width": 1280, "height": 1100}, ignore_https_errors=True)
    page = context.new_page()
    service.person("dora")
    page.goto(service.url)
    sign_in(page, "dora")
    with service.session("dora", gpu="none"):
        steady = Steady(page)
        page.goto(f"{service.url}/user/dora/lab")
        steady.shows("Welcome to ScienceBox", f"{service.url}/user/dora/lab")
        (service.data_root / "homes/dora/draw.ipynb").write_text(notebook)
        page.goto(f"{service.url}/user/dora/lab/tree/draw.ipynb?reset")
        page.get_by_text(re.compile(r"\| Idle$")).wait_for(timeout=60_000)
        page.locator(".jp-Notebook .jp-Cell").first.click()
        page.keyboard.press("Shift+Enter")
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

        page.locator(".jp-Notebook .jp-Cell").nth(1).click()
        page.keyboard.press("Shift+Enter")
        page.locator(".jp-OutputArea-output").get_by_text(f"drawn {area} True True").wait_for(timeout=60_000)
    context.close()
