"""A service of its own with four cards: what is done to it, others should not have to bear."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sciencebox.host import images

from tests.deployed.conftest import deployed, stack
from tests.fakes.driver.fake import FakeDriver

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

    from tests.engine import rig
    from tests.service import Service

__all__ = ["stack"]

CARDS = 4


@pytest.fixture(scope="package")
def service(cdi_engine: rig.Engine, stack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with four cards, attached by the files of a driver of its own; its sessions start quickly."""
    folder = tmp_path_factory.mktemp("chaos")
    folder.chmod(0o755)  # sessions read the driver's files as users of their own
    driver = FakeDriver.build(folder / "driver", gpus=CARDS)
    with (
        deployed(cdi_engine, driver, folder / "box", stack, "sciencebox-chaos", attach="bind") as service,
        quick_sessions(service.engine),
    ):
        yield service


@contextmanager
def quick_sessions(engine: docker.DockerClient) -> Iterator[None]:
    """In the place of the image of sessions, one whose server does nothing: who has which card is the question."""
    tag = images.tag("session")
    real = engine.images.get(tag)
    quick, _ = engine.images.build(
        path=str(Path(__file__).with_name("session")), tag=tag, buildargs={"SESSION": real.id}
    )
    try:
        yield
    finally:
        real.tag(tag)
        engine.images.remove(quick.id, force=True)


@pytest.fixture
def collected() -> Iterator[None]:
    """What a test leaves to the garbage collector is collected with it: the next one would be blamed for it."""
    yield
    gc.collect()
