"""A service of its own with four cards: what is done to it, others should not have to bear."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from tests.debian import debian_engine
from tests.deployed.conftest import deployed, quick, stack
from tests.fakes.driver.fake import FakeDriver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine import rig
    from tests.service import Service

__all__ = ["debian_engine", "stack"]

CARDS = 4


@pytest.fixture(scope="package")
def service(debian_engine: rig.Engine, stack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with four cards, attached by the files of a driver of its own; its sessions start quickly."""
    folder = tmp_path_factory.mktemp("chaos")
    folder.chmod(0o755)  # sessions read the driver's files as users of their own
    driver = FakeDriver.build(folder / "driver", gpus=CARDS)
    with (
        deployed(debian_engine, driver, folder / "box", stack, "sciencebox-chaos", attach="bind") as service,
        quick(service.engine),
    ):
        yield service


@pytest.fixture
def collected() -> Iterator[None]:
    """What a test leaves to the garbage collector is collected with it: the next one would be blamed for it."""
    yield
    gc.collect()
