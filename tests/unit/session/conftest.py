"""Tests of what runs inside a session. Its package is installed in the image only, so it is put on the path here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(__file__).parents[3] / "images/session"
sys.path.insert(0, str(PACKAGE))


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """An empty gallery."""
    folder = tmp_path / "gallery"
    folder.mkdir()
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's empty home."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def bundle(gallery: Path) -> Callable[..., Path]:
    """A function that puts a notebook with the given markdown cells into the gallery."""

    def put(name: str, *markdown: str) -> Path:
        cells = [{"cell_type": "markdown", "id": f"m{i}", "metadata": {}, "source": m} for i, m in enumerate(markdown)]
        code = {"cell_type": "code", "id": "c", "metadata": {}, "source": "1", "outputs": [], "execution_count": None}
        path = gallery / f"{name}.ipynb"
        path.write_text(json.dumps({"cells": [*cells, code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
        return path

    return put
