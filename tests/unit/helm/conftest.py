"""The chart for these tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.helm.chart import Chart, alone, find_helm

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def helm() -> Path:
    """helm, or skip."""
    found = find_helm()
    if found is None:
        pytest.skip("no helm: run `make test-tools`, or install it")
    return found


@pytest.fixture(scope="session")
def chart(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    """Our chart, without those that it depends on."""
    return Chart(helm, alone(tmp_path_factory.mktemp("chart")))
