"""The same service on the engine that Debian ships: no CDI, no NVIDIA toolkit, the driver's files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.debian import debian_engine
from tests.deployed.conftest import deployed, nothing_left, stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine import rig
    from tests.fakes.driver.fake import FakeDriver
    from tests.service import Service

__all__ = ["debian_engine", "nothing_left", "stack"]


@pytest.fixture(scope="package")
def service(
    debian_engine: rig.Engine, driver: FakeDriver, stack: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service with two cards, attached by the driver's files."""
    with deployed(debian_engine, driver, tmp_path_factory.mktemp("distribution") / "box", stack) as service:
        yield service
