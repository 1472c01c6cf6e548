"""A fake driver for the tests of what is read from one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.driver.fake import FakeDriver, buildable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def built_driver(tmp_path_factory: pytest.TempPathFactory) -> FakeDriver:
    """Two cards; built once, because that takes a compiler."""
    if not buildable():
        pytest.skip("gcc is needed to build the fake driver")
    return FakeDriver.build(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def driver(built_driver: FakeDriver) -> Iterator[FakeDriver]:
    """The fake driver with healthy, idle cards; what a test changes is undone."""
    state: Path = built_driver.libraries / "nvml.state"
    before = state.read_text()
    yield built_driver
    state.write_text(before)
